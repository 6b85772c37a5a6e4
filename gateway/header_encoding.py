"""Raw 8-bit bytes of a header field turned into ASCII, as RFC 2047, RFC 2231 and IDNA spell it.

SES takes no SMTPUTF8, and a header with bytes above 127 is read differently by every receiver. Only fields that
hold such bytes come here; the text decides the charset: UTF-8 when it is that, else windows-1252.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

from gateway.addresses import a_labels

MAX_LINE = 998  # RFC 5322 section 2.1.1, without CRLF
_FOLD_AT = 76  # RFC 2047 section 2 for a line that holds an encoded-word
_ENCODED_WORD_OCTETS = 39  # gives words of at most 64 characters; RFC 2047 allows 75
_PARAMETER_OCTETS = 50

_ADDRESS_FIELDS = frozenset(
    b"from sender reply-to to cc resent-from resent-sender resent-reply-to resent-to resent-cc return-path errors-to "
    b"return-receipt-to disposition-notification-to delivered-to mail-followup-to mail-reply-to list-id".split()
)
_PARAMETER_FIELDS = frozenset((b"content-type", b"content-disposition"))
# Made of tokens (message identifiers, URLs) that no encoded-word may stand in: RFC 2047 section 5.
_TOKEN_FIELDS = frozenset(
    b"message-id in-reply-to references content-id resent-message-id content-location list-unsubscribe list-help "
    b"list-subscribe list-post list-owner list-archive".split()
)

_BLANKS = " \t"
_SPACES = re.compile(r"((?<!\\)[ \t]+)")
_ADDRESS_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*+")|(?P<angle><[^<>]*+>)|(?P<separator>[,;:])|(?P<atom>[^"<>,;:()]++)""", re.DOTALL
)
_COMMENT_PART = re.compile(r"(?P<parenthesis>[()])|(?P<text>(?:[^()\\]|\\.|\\\Z)++)", re.DOTALL)
_PARAMETER = re.compile(r"""(;[ \t]*)([^\s=;"]++)([ \t]*+=[ \t]*+)("(?:[^"\\]|\\.)*+"|[^;"]*+)""", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


def decode_raw(value: bytes) -> str:
    """The text of header bytes without a declared charset."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return (
            value.decode("cp1252")
            if value.translate(None, b"\x81\x8d\x8f\x90\x9d") == value
            else value.decode("latin-1")
        )


def encode_field(name: bytes, value: bytes) -> bytes:
    """The field `name: value` in ASCII, folded, with CRLF at its end; `value` still has its folds."""
    text = decode_raw(value).replace("\r\n", "")
    encoded = _encode_value(name.lower(), text)
    return _fold(name.decode("ascii"), encoded).encode("ascii")


def _encode_value(name: bytes, text: str) -> str:
    encoded = text
    if name in _ADDRESS_FIELDS:
        encoded = _addresses(text)
    elif name in _PARAMETER_FIELDS:
        encoded = _PARAMETER.sub(_parameter, text)
    elif name in _TOKEN_FIELDS:
        encoded = _percent(text)
    return encoded if encoded.isascii() else _unstructured(encoded)


def _fold(name: str, value: str) -> str:
    lines = []
    line = f"{name}:"
    for spaces, word in _spaced_words(value.rstrip(_BLANKS)):
        if spaces and len(line) + len(spaces) + len(word) > _FOLD_AT:
            lines.append(line)
            line = spaces[0] + word
        else:
            line += spaces + word
        while len(line) > MAX_LINE:  # A token so long has no place to fold; the limit is the stronger rule.
            lines.append(line[:MAX_LINE])
            line = " " + line[MAX_LINE:]
    return "\r\n".join([*lines, line, ""])


def _spaced_words(text: str) -> Iterator[tuple[str, str]]:
    """The words of `text`, each with the spaces before it."""
    pieces = _SPACES.split(text)
    return zip(["", *pieces[1::2]], pieces[0::2], strict=True)


def _unstructured(text: str) -> str:
    """Each run of words with characters beyond ASCII becomes encoded-words; the other words stay as they are.

    Spaces between two encoded-words are not shown, so a run takes in those next to an encoded-word of the client.
    """
    encoded: list[str] = []
    run = previous = ""
    for spaces, word in _spaced_words(text):
        if word.isascii():
            encoded.append(_encoded_words(run + spaces if run and word.startswith("=?") else run))
            encoded += [spaces, word]
            run = ""
        elif run:
            run += spaces + word
        else:
            encoded.append(spaces)
            run = spaces + word if previous.startswith("=?") else word
        previous = word
    return "".join([*encoded, _encoded_words(run)])


def _encoded_words(text: str) -> str:
    return " ".join(
        f"=?utf-8?b?{b64encode(chunk).decode('ascii')}?=" for chunk in _utf8_chunks(text, _ENCODED_WORD_OCTETS)
    )


def _utf8_chunks(text: str, octets: int) -> list[bytes]:
    """The UTF-8 of `text` in pieces of at most `octets`, none of which splits a character (RFC 2047 section 5)."""
    chunks: list[bytes] = []
    chunk = bytearray()
    for character in text:
        encoded = character.encode("utf-8")
        if len(chunk) + len(encoded) > octets:
            chunks.append(bytes(chunk))
            chunk.clear()
        chunk += encoded
    return [*chunks, bytes(chunk)] if chunk else chunks


def _percent(text: str) -> str:
    return "".join(c if c.isascii() else quote(c) for c in text)


def _parameter(match: re.Match[str]) -> str:
    """One parameter of Content-Type or Content-Disposition in the form of RFC 2231, when it needs it."""
    separator, name, _, value = match.groups()
    if value.isascii():
        return match[0]
    if not name.isascii():
        return _percent(match[0])
    if name.endswith("*"):  # Already in that form, but for raw bytes left in it.
        return f"{separator}{name}={_percent(value)}"
    chunks = _utf8_chunks(_unquoted(value.strip()), _PARAMETER_OCTETS)
    if len(chunks) == 1:
        return f"{separator}{name}*=utf-8''{quote(chunks[0], safe='')}"
    encoded = [quote(chunk, safe="") for chunk in chunks]
    encoded[0] = f"utf-8''{encoded[0]}"
    return separator + "; ".join(f"{name}*{index}*={chunk}" for index, chunk in enumerate(encoded))


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", text)


def _addresses(text: str) -> str:
    """An address list; what has unbalanced quotes, brackets or parentheses is left for `_unstructured`."""
    tokens = address_tokens(text)
    if tokens is None:
        return text
    encoded: list[str] = []
    mailbox: list[tuple[str, str]] = []
    for kind, text_of in [*tokens, ("separator", "")]:
        if kind == "separator":
            encoded += [_mailbox(mailbox, is_group=text_of == ":"), text_of]
            mailbox = []
        else:
            mailbox.append((kind, text_of))
    return "".join(encoded)


def address_tokens(text: str) -> list[tuple[str, str]] | None:
    """The tokens of an address field (quoted, angle, separator, atom, comment), which joined are `text` again.

    None where quotes, brackets or parentheses are not balanced.
    """
    tokens = []
    position = 0
    while position < len(text):
        if text[position] == "(":
            end = _comment_end(text, position)
            if end is None:
                return None
            tokens.append(("comment", text[position:end]))
            position = end
            continue
        match = _ADDRESS_TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append((str(match.lastgroup), match[0]))
        position = match.end()
    return tokens


def _comment_end(text: str, start: int) -> int | None:
    depth = 0
    for match in _COMMENT_PART.finditer(text, start):
        if match["parenthesis"]:
            depth += 1 if match[0] == "(" else -1
            if not depth:
                return match.end()
    return None


def _mailbox(tokens: list[tuple[str, str]], *, is_group: bool) -> str:
    """One mailbox of a list, or the name of a group: phrase and angle address, or a bare address."""
    has_angle = any(kind == "angle" for kind, _ in tokens)
    has_at = any(kind == "atom" and "@" in token for kind, token in tokens)
    if is_group or has_angle or not has_at:
        return _phrase_then_rest(tokens)
    return "".join(_comment(token) if kind == "comment" else _address(token) for kind, token in tokens)


def _phrase_then_rest(tokens: list[tuple[str, str]]) -> str:
    encoded: list[str] = []
    phrase: list[str] = []
    for kind, token in [*tokens, ("", "")]:
        if kind in ("atom", "quoted"):
            phrase.append(token)
            continue
        encoded.append(_phrase(phrase))
        phrase = []
        if kind == "comment":
            encoded.append(_comment(token))
        elif kind == "angle":
            encoded.append(f"<{_address(token[1:-1])}>")
    return "".join(encoded)


def _phrase(parts: list[str]) -> str:
    """A display name; RFC 2047 section 5 allows no encoded-word inside quotes, so they are taken off."""
    text = "".join(parts)
    if text.isascii():
        return text
    if not any(part.startswith('"') for part in parts):
        return f"{_unstructured(text.rstrip(_BLANKS))} "
    bare = "".join(_unquoted(part) if part.startswith('"') else part for part in parts)
    before = bare[: len(bare) - len(bare.lstrip(_BLANKS))]
    return f"{before}{_encoded_words(bare.strip(_BLANKS))} "


def _comment(text: str) -> str:
    if text.isascii():
        return text
    return _COMMENT_PART.sub(lambda part: part[0] if part[0].isascii() else _encoded_words(_unquoted(part[0])), text)


def _address(text: str) -> str:
    """An addr-spec with its domain in the form of IDNA. A local part beyond ASCII has no form in this mail system;
    the encoded-word that stands for it keeps the header readable and names nobody else's mailbox.
    """
    if text.isascii():
        return text
    local_part, at, domain = text.rpartition("@")
    if not local_part.isascii():
        local_part = _encoded_words(local_part).replace(" ", "")
    return f"{local_part}{at}{_idna(domain)}"


def _idna(domain: str) -> str:
    name = domain.strip(_BLANKS)
    try:
        return domain.replace(name, a_labels(name)) if name else domain
    except UnicodeError:  # no name of the DNS; any ASCII form is as good
        return _percent(domain)
