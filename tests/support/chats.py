"""Chat templates of three kinds, and conversations for them."""

from __future__ import annotations

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be kind.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

TURNS = """\
{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% endif %}
{% endfor %}"""

TOOLS = """\
{%- set ns = namespace(found=false, text='') %}
{%- for message in messages %}
    {%- if message.role == 'system' and not ns.found %}
        {%- set ns.found = true %}
        {%- set ns.text = message.content | trim %}
    {%- endif %}
{%- endfor %}
{%- macro describe(tool, depth=0) %}
{{- '  ' * depth ~ tool.function.name ~ ': ' ~ (tool.function.parameters.properties | tojson) }}
{%- endmacro %}
{%- if tools is defined and tools %}
    {{- '<tools>\\n' }}
    {%- for tool in tools %}
        {{- describe(tool, 1) + '\\n' }}
        {{- tool.function | tojson(indent=2) + '\\n' }}
    {%- endfor %}
    {{- '</tools>\\n' }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}
    {%- if message.role == 'assistant' %}
        {% generation %}
        {{- message.content.split('</think>')[-1].lstrip('\\n') }}
        {% endgeneration %}
    {%- elif message.role in ['user', 'tool'] %}
        {{- '<' ~ message.role ~ '>' ~ message['content'][:20] ~ ('' if loop.last else ' |') }}
        {%- if loop.index0 > 1 %}{% break %}{% endif %}
    {%- endif %}
{% endfor %}
    {%- if add_generation_prompt %}
        {{- ns.text.replace('a', 'A')|upper }}{{ messages|map(attribute='role')|join('+') }}
        {{- messages|selectattr('role', 'equalto', 'user')|list|length }}
    {%- endif %}
"""

ONE = [{"role": "user", "content": 'Hi <there> & "you"'}]
SEVERAL = [
    {"role": "system", "content": " be brief, always "},
    {"role": "user", "content": "Wie geht's, Ärger?"},
    {"role": "assistant", "content": "<think>\nhm</think>\n\nGut."},
    {"role": "user", "content": "A rather long question that goes on."},
    {"role": "user", "content": "more"},
]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"properties": {"where": {"type": "string", "<&>": "Ä"}}}},
}
