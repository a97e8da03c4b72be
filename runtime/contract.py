"""The contract of names: what the programs, symbols and buffers of a bundle are called, and what they mean.

The compiler builds graphs with these names and the runtime replays them, so neither spells them itself.
docs/bundle-format.md documents them for runtimes in other languages.
"""

from __future__ import annotations

# What shapes how tokens are drawn, of language models and of Whispers. generation.json has `sampling_order` too.
SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
WHISPER_SAMPLING = ("temperature", "max_initial_timestamp")

# Ways in which an encoder's rows of tokens become one row of a text, as sentence-transformers names them.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

# Kinds of bundles: what a bundle can be asked for. A plain model is one of none of the other families.
WHISPER = "whisper"
LANGUAGE = "language"
ENCODER = "encoder"
PLAIN = "model"

# Programs: MAIN of a plain model and of an encoder, PREFILL and STEP of a language model, all but MAIN of a Whisper.
MAIN = "main"
MEL = "mel"  # the spectrogram of a window
ENCODE = "encode"  # the spectrogram becomes keys and values that the decoder's programs attend to
DETECT = "detect"  # multilingual Whispers: reads one token, and gives the probabilities of the languages
PREFILL = "prefill"  # reads several tokens, and writes the next one
STEP = "step"  # reads one token, and writes the next one
ALIGN = "align"  # Whisper: reads 32 tokens of a text, and gives the weights of its alignment heads for them
ON_DEMAND = frozenset({ALIGN})  # programs that few users run: their kernels are compiled when they first run

# Symbols: the fields of a program's uniform block.
FREE = "n_"  # begins the names of sizes that a plain model leaves free, so that they clash with no word of WGSL
PAST = "past"  # rows of the cache that earlier runs wrote: the position of the first new token
NEW_TOKENS = "new_tokens"  # tokens that this run reads; a decoder has them at rows `past` and up of the state `tokens`
BEGIN = "begin"  # Whisper: the row of the first token that the model chose itself
TIMED = "timed"  # Whisper: 1 where the rules of timestamps hold, else 0
OPENING = "opening"  # Whisper: 1 where a window opens the recording: the samples before it mirror those after its start
PADDING = "padding"  # Whisper: the frames at the end of a window that lie after the recording; their features are zeros
SEED = "seed"  # language models and Whispers: the seed of the random numbers that tokens are drawn with
DRAWN = "drawn"  # language models: 1 where SAMPLING has a temperature, else 0; a hint, by which only speed changes

# Inputs, outputs and states.
TOKENS = "tokens"  # state i32[1, context + 1, 1]: the tokens of the text; a run writes its token behind those it read
NO_TOKEN = -1  # in place of a token that a run writes: a score is NaN
LOGITS = "logits"  # output f32[1, 1, vocabulary]: scores of the next token, before any option
SAMPLING = "sampling"  # state f32[5] or f32[2]: the values of SAMPLING_OPTIONS or WHISPER_SAMPLING, in their order
SUPPRESS = "suppress"  # Whisper: state u32[2, words], a bit for each token: never chosen; not chosen first
SCORES = "scores"  # Whisper: state f32[context + 1, 2]: the log-probability of the token in a row, that of no speech
LANGUAGES = "languages"  # Whisper: output f32[1, 1, languages]: their probabilities, in the order of generation.json
WEIGHTS = "weights"  # Whisper: output f32[1, heads, 32, positions]: where in the window each token looks; sums are 1
PROBABILITIES = "probabilities"  # Whisper: output f32[1, 32]: of the token after each, among the tokens of text
AUDIO = "audio"  # input f32[1, 1, samples]: the samples under a window of the spectrogram
LOUDEST = "loudest"  # state f32[1, 1, 1]: the largest log10 power of the windows since the host wrote its least value
FEATURES = "input_features"  # spectrogram f32[1, mels, frames]
HIDDEN = "last_hidden_state"  # output f32[1, positions, width]: the rows of a Whisper's encoder
IDS = "input_ids"  # encoders: input i64[1, new_tokens], the tokens of a text
TYPES = "token_type_ids"  # encoders: input i64[1, new_tokens], 1 for the tokens of the second text of a pair, else 0
