"""The kind of a file, from its first bytes, so that an error can name it. File names prove nothing."""

from __future__ import annotations

from typing import BinaryIO

READ = "WAV, FLAC, AIFF, CAF, AU, MP3, Ogg and WebM with Vorbis or Opus"  # always
MEDIA = "M4A, MP4, AAC, AMR, WMA and other codecs in WebM"  # with PyAV or ffmpeg
# Of files in folders: what their names end in.
SUFFIXES = frozenset(
    ".wav .flac .aiff .aif .aifc .au .caf .mp3 .ogg .oga .opus .w64 .rf64 "
    ".m4a .m4b .mp4 .m4v .mov .webm .mkv .mka .aac .amr .3gp .wma .asf .avi".split()
)

_SIGNS = (
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"ADIF", "AAC"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA"),
    (8, b"AVI ", "AVI"),
    (0, b"FLV\x01", "FLV"),
    (0, b"OggS", "Ogg"),
    (0, b"ID3", "MP3"),
    (0, b"fLaC", "FLAC"),
    (8, b"WAVE", "WAV"),
    (8, b"AIF", "AIFF"),
)


def kind(file: BinaryIO) -> str | None:
    """Return the kind of a seekable file, or None if its first bytes are of none that is known."""
    file.seek(0)
    head = file.read(16)
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:  # the sync word of ADTS, layer 0
        return "AAC"
    return next((name for at, sign, name in _SIGNS if head[at : at + len(sign)] == sign), None)
