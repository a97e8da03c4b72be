"""Chat templates: the texts that transformers 4.57.6 renders, and what a stranger's template may not do."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest
from chats import CHATML, ONE, SEVERAL, SPECIAL, TOOLS, TURNS, WEATHER

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.chat_template import ChatTemplate

QUESTIONS = "<user>Wie geht's, Ärger? |Gut.\n<user>A rather long questi |"
QUESTIONS += "BE BRIEF, ALWAYSsystem+user+assistant+user+user3"

RENDERED = [
    (
        CHATML,
        ONE,
        None,
        '<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi <there> & "you"<|im_end|>\n'
        "<|im_start|>assistant\n",
    ),
    (
        CHATML,
        SEVERAL[:2],
        None,
        "<|im_start|>system\n be brief, always <|im_end|>\n<|im_start|>user\nWie geht's, Ärger?<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    (TURNS, ONE, None, '<s>[INST] Hi <there> & "you" [/INST]'),
    (TOOLS, ONE, None, '<user>Hi <there> & "you"user1'),
    (TOOLS, SEVERAL, None, QUESTIONS),
    (
        TOOLS,
        SEVERAL,
        [WEATHER],
        '<tools>\n  weather: {"where": {"type": "string", "<&>": "Ä"}}\n{\n  "name": "weather",\n  "parameters": {\n'
        '    "properties": {\n      "where": {\n        "type": "string",\n        "<&>": "Ä"\n      }\n    }\n  }\n}\n'
        f"</tools>\n{QUESTIONS}",
    ),
]


@pytest.mark.parametrize("template, messages, tools, text", RENDERED)
def test_rendering(template: str, messages: list[dict[str, str]], tools: Any, text: str) -> None:
    made = ChatTemplate(template, SPECIAL)
    assert made.render(messages, tools) == text
    assert made.render(messages, tools) == text, "a template is used many times"


PARTS = (  # SmolVLM's
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def test_a_template_that_reads_parts_sees_texts() -> None:
    """transformers leaves the text out, because a text has no parts."""
    text = ChatTemplate(PARTS, SPECIAL).render([{"role": "system", "content": "Be kind."}, *ONE])
    assert text == (
        '<|im_start|>System: Be kind.<end_of_utterance>\nUser: Hi <there> & "you"<end_of_utterance>\nAssistant:'
    )
    either = "{{ messages[0].content if messages[0].content is string else messages[0].content[0].text }}"
    assert ChatTemplate(either, SPECIAL).render([{"role": "user", "content": "Hi"}]) == "Hi"


def test_a_template_refuses_messages() -> None:
    with pytest.raises(ValueError, match="refuses these messages: Conversation roles must alternate") as caught:
        ChatTemplate(TURNS, SPECIAL).render(SEVERAL)
    assert not isinstance(caught.value, BadBundle)


def test_the_date() -> None:
    assert ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", {}).render([]) == time.strftime("%Y-%m-%d")


def test_long_conversations_fit() -> None:
    messages = [{"role": ("user", "assistant")[i % 2], "content": "word " * 40} for i in range(2000)]
    assert len(ChatTemplate(TURNS, SPECIAL).render(messages)) > 400_000
    assert len(ChatTemplate(TURNS, SPECIAL).render([{"role": "user", "content": "word " * 200_000}])) > 1_000_000


BROKEN = ["{% if %}", "{{ x", "{{ 1|sing }}", "{% sing %}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"]


@pytest.mark.parametrize("template", BROKEN, ids=lambda t: t[:20])
def test_broken_templates(template: str) -> None:
    with pytest.raises(BadBundle, match=r"chat_template\.jinja is broken"):
        ChatTemplate(template, {})


FAILING = [
    "{{ missing.content.strip() }}",
    "{{ messages[0].content + 1 }}",
    "{% include 'secret' %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ lipsum(1000) }}",
]


@pytest.mark.parametrize("template", FAILING, ids=lambda t: t[:40])
def test_failing_templates(template: str) -> None:
    with pytest.raises(BadBundle, match=r"chat_template\.jinja fails: \S"):
        ChatTemplate(template, {}).render(ONE)


NEW = "{% set ns = namespace(x=['a']) %}"
LARGE = "{% set x = 'a' * 9000000 %}{% set y = 'a' * 9000000 %}"
SLOW = [
    "{% for i in range(10 ** 9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% set x = range(99999)|sum %}{% endfor %}",
    "{% for i in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    NEW + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    NEW + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    LARGE + "{% for i in range(99999) %}{% if x == y %}{% endif %}{% endfor %}",
    LARGE + "{% for i in range(99999) %}{% set z = x[1:] %}{% endfor %}",
    LARGE + "{% for i in range(99999) %}{% set z = x|upper %}{% endfor %}",
    LARGE + "{% for i in range(99999) %}{% set z = x.upper() %}{% endfor %}",
]


HUGE = [
    "{{ 'x' * 10 ** 10 }}",
    "{{ 'x'|center(10 ** 9) }}",
    "{{ 'x'.ljust(10 ** 9) }}",
    "{{ 'x\nx'|indent(10 ** 9) }}",
    "{{ [1]|tojson(indent=10 ** 9) }}",
    "{{ 9 ** 9 ** 9 }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
    NEW + "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set x = ['a' * 100000] * 10000 %}{{ x }}",
    "{% set x = ['a' * 100000] * 10000 %}{{ x|join }}",
    "{% set x = ['a' * 100000] * 10000 %}{{ ''.join(x) }}",
    "{% set x = [{'a': 'a' * 100000}] * 10000 %}{{ x|map(attribute='a')|join }}",
    "{% set x = ['a'] * 10000 %}{{ x|join('a' * 100000) }}",
    "{{ ['a']|map('center', 10 ** 9)|list }}",
    "{% set x = ['a' * 100000] * 10000 %}{{ x ~ '' }}",
    "{% set x = ['a' * 100000] * 10000 %}{% set y = x|string %}",
    "{% set x = 'a' * 100000 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}" + "y" * 10_000 + "{% endfor %}{% endset %}",
    "{% macro m() %}" + "y" * 10_000 + "{% endmacro %}{% for i in range(99999) %}{% set x = m() %}{% endfor %}",
]


@pytest.mark.parametrize("template", SLOW, ids=lambda t: t[:60])
def test_templates_that_would_take_all_time(template: str) -> None:
    started = time.process_time()
    with pytest.raises(BadBundle, match=r"chat_template\.jinja (fails|is broken): \S"):
        ChatTemplate(template, {}).render(ONE)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("template", HUGE, ids=lambda t: t[:60])
def test_templates_that_would_take_all_memory(template: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadBundle, match=r"chat_template\.jinja fails: \S"):
            ChatTemplate(template, {}).render(ONE)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
