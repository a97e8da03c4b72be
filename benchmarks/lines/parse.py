"""Reads WGSL into the tree of syntax.py, by recursive descent."""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.lines.syntax import (
    Assign,
    Binary,
    Binding,
    Block,
    Call,
    Declare,
    Do,
    Expression,
    Function,
    If,
    Index,
    Leave,
    Loop,
    Member,
    Name,
    Number,
    Return,
    Shader,
    Statement,
    Switch,
    Unary,
)

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(
    r"0[xX][0-9a-fA-F.]+[pP][+-]?\d+[fh]?|0[xX][0-9a-fA-F]+[iu]?|(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?[fh]?|\d+[iufh]?"
    r"|[A-Za-z_]\w*|<<=|>>=|[-+*/%&|^=!<>]=|&&|\|\||<<|>>|\+\+|--|->|\S"
)
_LEVELS = (("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"))
_BINARY = (*_LEVELS, ("+", "-"), ("*", "/", "%"))
_TEMPLATES = re.compile(r"bitcast|array|ptr|atomic|vec[234]|mat[234]x[234]")
_NUMBER = re.compile(r"\.?\d")


class Unreadable(ValueError):
    """The text is not in the part of WGSL that is read."""


def parse(text: str) -> Shader:
    """Raises Unreadable."""
    return _Parser(_TOKEN.findall(_COMMENT.sub(" ", text))).shader()


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    # ---- Tokens

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def skip(self, token: str) -> bool:
        """Take the next token if it is this one."""
        self.at += (taken := self.next == token)
        return taken

    def expect(self, token: str) -> None:
        if not self.skip(token):
            raise Unreadable(f"expected {token!r}, got {' '.join(self.tokens[self.at : self.at + 8])!r}")

    def skip_brackets(self, opening: str, closing: str) -> None:
        """From an opening bracket to the one that closes it; `>>` closes two."""
        depth = 0
        while True:
            token = self.take()
            depth += token.count(opening) - token.count(closing)
            if depth <= 0 or not token:
                return

    def type(self) -> str:
        begin = self.at
        self.take()
        if self.next == "<":
            self.skip_brackets("<", ">")
        return "".join(self.tokens[begin : self.at])

    def attributes(self) -> dict[str, list[Expression]]:
        """What stands before a declaration: @name(arguments)."""
        found: dict[str, list[Expression]] = {}
        while self.skip("@"):
            name = self.take()
            found[name] = self.arguments() if self.next == "(" else []
        return found

    # ---- The module

    def shader(self) -> Shader:
        shader = Shader({}, {}, {}, {}, ())
        while self.next:
            attributes = self.attributes()
            word = self.take()
            if word == "fn":
                name, function = self.function()
                shader.functions[name] = function
                if "workgroup_size" in attributes:
                    shader = replace(shader, workgroup=tuple(attributes["workgroup_size"]))
            elif word == "struct":
                self.take()
                self.skip_brackets("{", "}")
                self.skip(";")
            elif word in ("var", "const"):
                self.module_variable(shader, attributes)
            else:  # alias, enable, requires
                while self.take() not in (";", ""):
                    pass
        return shader

    def module_variable(self, shader: Shader, attributes: dict[str, list[Expression]]) -> None:
        shared = self.tokens[self.at : self.at + 2] == ["<", "workgroup"]
        declared = self.declaration()
        if "binding" in attributes:
            (number,) = attributes["binding"]
            assert isinstance(number, Number) and number.value is not None
            shader.bindings[number.value] = Binding(declared.name, declared.type)
        elif shared:
            shader.shared[declared.name] = declared.type
        elif declared.value is not None:
            shader.constants[declared.name] = declared.value
        self.expect(";")

    def function(self) -> tuple[str, Function]:
        name, parameters = self.take(), []
        self.expect("(")
        while not self.skip(")"):
            (builtin,) = self.attributes().get("builtin", [Name("")])
            parameters.append((self.take(), builtin.name if isinstance(builtin, Name) else ""))
            self.expect(":")
            self.type()
            self.skip(",")
        if self.skip("->"):
            self.type()
        return name, Function(tuple(parameters), self.block())

    # ---- Statements

    def block(self) -> Block:
        self.expect("{")
        statements: list[Statement] = []
        while not self.skip("}"):
            if self.next == "{":
                statements.append(If(Number(1), self.block(), ()))
            elif not self.skip(";"):
                statements.append(statement := self.statement())
                if not isinstance(statement, If | Loop | Switch):
                    self.expect(";")
        return tuple(statements)

    def statement(self) -> Statement:
        match self.next:
            case "if":
                return self.branch()
            case "for" | "while" | "loop":
                return self.loop()
            case "switch":
                return self.switch()
            case "return":
                self.take()
                return Return(self.expression() if self.tokens[self.at] != ";" else None)
            case "break" | "continue":
                return Leave(self.take())
            case _:
                return self.simple()

    def simple(self) -> Statement:
        """What may stand in the head of a `for` too."""
        if self.next in ("let", "var", "const"):
            self.take()
            return self.declaration()
        target = self.expression()
        if (operator := self.next) in ("++", "--"):
            self.take()
            return Assign(target, operator[0], Number(1))
        if operator == "=" or (len(operator) > 1 and operator.endswith("=")):
            self.take()
            return Assign(target, operator[:-1], self.expression())
        return Do(target)

    def declaration(self) -> Declare:
        """After the word: <space> name : type = value."""
        if self.next == "<":
            self.skip_brackets("<", ">")
        name = self.take()
        type = self.type() if self.skip(":") else ""
        return Declare(name, type, self.expression() if self.skip("=") else None)

    def branch(self) -> If:
        self.expect("if")
        condition, then = self.expression(), self.block()
        if not self.skip("else"):
            return If(condition, then, ())
        return If(condition, then, (self.branch(),) if self.next == "if" else self.block())

    def loop(self) -> Loop:
        word = self.take()
        if word == "loop":
            return Loop(None, None, None, self.block())
        if word == "while":
            return Loop(None, self.expression(), None, self.block())
        self.expect("(")
        begin = None if self.next == ";" else self.simple()
        self.expect(";")
        condition = None if self.next == ";" else self.expression()
        self.expect(";")
        step = None if self.next == ")" else self.simple()
        self.expect(")")
        return Loop(begin, condition, step, self.block())

    def switch(self) -> Switch:
        self.expect("switch")
        on, cases = self.expression(), []
        self.expect("{")
        while not self.skip("}"):
            values: list[Expression] = []
            if self.take() == "case":
                while self.next not in ("{", ":"):
                    values.append(self.expression())
                    self.skip(",")
            self.skip(":")
            cases.append((tuple(values), self.block()))
        return Switch(on, tuple(cases))

    # ---- Expressions

    def expression(self, level: int = 0) -> Expression:
        if level == len(_BINARY):
            return self.unary()
        left = self.expression(level + 1)
        while (operator := self.next) in _BINARY[level]:
            self.take()
            left = Binary(operator, left, self.expression(level + 1))
        return left

    def unary(self) -> Expression:
        if self.next in ("-", "!", "~", "&", "*"):
            return Unary(self.take(), self.unary())
        return self.postfix(self.primary())

    def primary(self) -> Expression:
        token = self.take()
        if token == "(":
            inner = self.expression()
            self.expect(")")
            return inner
        if _NUMBER.match(token):
            return Number(_integer(token))
        if not (token.isidentifier() and token.isascii()):
            raise Unreadable(f"expected an expression, got {token!r}")
        if self.next == "<" and _TEMPLATES.fullmatch(token):
            self.skip_brackets("<", ">")
        return Call(token, tuple(self.arguments())) if self.next == "(" else Name(token)

    def postfix(self, of: Expression) -> Expression:
        while True:
            if self.skip("."):
                of = Member(of, self.take())
            elif self.skip("["):
                of = Index(of, self.expression())
                self.expect("]")
            else:
                return of

    def arguments(self) -> list[Expression]:
        self.expect("(")
        found: list[Expression] = []
        while not self.skip(")"):
            found.append(self.expression())
            self.skip(",")
        return found


def _integer(token: str) -> int | None:
    digits, base = token.rstrip("iu").lower(), 16 if token[:2].lower() == "0x" else 10
    try:
        return int(digits, base)
    except ValueError:
        return None
