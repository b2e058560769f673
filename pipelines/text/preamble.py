"""Take the answer out of a chatty reply: no "Sure, here is…:", no quotes or code fence around the whole.

Works on a reply that is still growing. Each decision (is the first line a preamble? do these quotes wrap everything?)
is made on a prefix that no later token can change; until then the text in question is held back. So what was shown
never has to be taken back, and most replies are held for a word or two only.
"""

import re

from pipelines.text.split import flow

__all__ = ["one_line", "strip_preamble"]

LONGEST_PREAMBLE = 160
"""Characters of a first line that may still turn out to be a preamble. Those that chat models write stay under 120."""

_INTERJECTION = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great|yes|no problem)"
_POINTER = r"(?:here(?:['’]s| is| are)|below (?:is|are)|the following (?:is|are))\b"
_CHORE = r"(?:translat|summar|rewrit|rewrote|version)"
_WORK = (
    r"(?:poem|haiku|stor(?:y|ies)|song|lyrics|script|letter|e-?mail|continuation|code|function|answer|result|response|output"
    r"|points|bullet|sentence|paragraph|text)"
)
_LABEL = r"(?:(?:[a-zà-ÿ]+ ){0,2}(?:translation|summary|translated text)|answer|output|result|response)(?: \([^()]*\))?"
_INTERJECTION_ZH = r"(?:好的?|当然(?:可以)?|没问题|可以)[，,！!。 ]*"
_POINTER_ZH = r"(?:以下|下面|这)(?:就?是|为)"
_CHORE_ZH = r"(?:译|翻|摘要|总结|概括|概要|改写)"
_WORK_ZH = r"(?:要点|续写|诗|俳句|故事|歌|剧本|信|邮件|代码|函数|结果|回答|答案|文本|内容)"
_LABEL_ZH = r"[\u4e00-\u9fff]{0,6}(?:翻译|译文|摘要|总结|概要|结果|答案|回答)(?:如下|结果)?"

# What stands before a colon: chatter beyond doubt; chatter also with text on the same line; only where the line ends.
_CERTAIN = re.compile(rf"{_INTERJECTION}[,.!—– ]+{_POINTER}.*|{_INTERJECTION_ZH}{_POINTER_ZH}.*", re.IGNORECASE)
_INLINE = re.compile(
    rf"(?:{_POINTER}|this is (?:the|a|your)\b).*{_CHORE}.*|(?:the )?{_LABEL}(?: is)?"
    rf"|{_POINTER_ZH}.*{_CHORE_ZH}.*|{_LABEL_ZH}",
    re.IGNORECASE,
)
_BEFORE_BREAK = re.compile(
    rf"{_INLINE.pattern}|{_POINTER}.*{_WORK}.*|{_INTERJECTION}[,.!—– -]+.*|here you (?:go|are).*"
    rf"|{_POINTER_ZH}.*{_WORK_ZH}.*",
    re.IGNORECASE,
)
# A whole line without a colon.
_LINE = re.compile(
    rf"{_INTERJECTION}[.!]?|{_INTERJECTION}[,.!] *(?:I can|I['’]d|I['’]ll|I would|I will|happy to|let me|here)\b.*"
    rf"|{_INTERJECTION_ZH}",
    re.IGNORECASE,
)
_OPENINGS = (
    "sure", "certainly", "of course", "absolutely", "okay", "ok", "alright", "great", "yes", "no problem", "here",
    "below is", "below are", "the following", "this is", "answer", "output", "result", "response",
    "好", "当然", "没问题", "可以", "以下", "下面", "这是", "这就是", "这为",
)  # fmt: skip
_BEGUN = {opening[:length] for opening in _OPENINGS for length in range(len(opening))}
_LABEL_STARTS = re.compile(
    r"(?:the )?(?:[a-zà-ÿ]+ ){0,2}[a-zà-ÿ]*|[\u4e00-\u9fff]{0,10}|.*(?:translation|summary|translated text).{0,40}"
)
_END = re.compile(r"[:：\n]")
_MARKUP = re.compile(r"[*_#]*[ \t]*")
# What a model says about its answer, after a blank line.
_COMMENTARY = re.compile(
    r"\s*\n\s*\n\s*[(*_\[]{0,3}(?:Notes?|Explanation|Translation notes?|Let me know|I hope|注意?|说明|解释|备注)"
    r"[:：, *]"
)
_COMMENTARY_LENGTH = 40
_BLANK_LINE = re.compile(r"\s*\n\s*\n")
_FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "‘": "’"}


def strip_preamble(reply: str, complete: bool, *, source: str = "") -> str:
    """The answer inside a reply.

    Args:
        reply: What the model wrote so far.
        complete: False while it still grows: only the part that no later token can change is returned, so that each
            value starts with the one before.
        source: The text that was asked about. What it has itself (quotes around it, a first line that looks like a
            preamble) belongs to the answer and stays.
    """
    body = reply.lstrip()
    source = source.strip()
    has_colon = bool(re.search("[:：]", source[:LONGEST_PREAMBLE]))
    if not _chatter(source, True, False):
        for _ in range(2):  # "Certainly!", then "Here is the translation:"
            length = _chatter(body, complete, has_colon)
            if length is None:
                return ""
            body = body[length:].lstrip()
            if not length:
                break
    if body.startswith("```") or (not complete and body in ("`", "``")):
        inner = _unfenced(body, complete) if not source.startswith("```") else body
    elif body[:1] in _QUOTES:
        inner = _unquoted(body, complete) if not _wrapped(source) else body
    else:
        inner = body
    return inner.rstrip() if inner is body else inner.strip()


def one_line(answer: str, complete: bool) -> str:
    """An answer that has to be one line: remarks behind a blank line are removed, other line breaks become spaces.

    Safe for an answer that still grows, in the same way as ``strip_preamble``, whose result it takes.
    """
    if comment := _COMMENTARY.search(answer):
        answer = answer[: comment.start()]
    elif not complete:  # what stands behind a blank line may still turn out to be a remark
        blank = (match.start() for match in _BLANK_LINE.finditer(answer))
        answer = answer[: next((start for start in blank if len(answer) - start < _COMMENTARY_LENGTH), len(answer))]
    return flow(answer)


def _chatter(text: str, complete: bool, source_has_colon: bool) -> int | None:
    """Characters of a preamble at the start; 0 where there is none; None while more text could decide either way.

    "Result: 3" is chatter after a question and the right translation of "Résultat : 3": where the source has a colon
    early on, a label with text behind it stays.
    """
    markup = _MARKUP.match(text)
    start = markup.end() if markup else 0
    end = _END.search(text, start, start + LONGEST_PREAMBLE)
    head = text[start : end.start() if end else start + LONGEST_PREAMBLE]
    # Every prefix is asked, not only the whole head: a verdict of "no" that was acted on while streaming must stand.
    if not all(_may_be_chatter(head[:length].lower()) for length in range(len(head) + 1)):
        return 0
    if end is None:
        return None if not complete and len(text) - start < LONGEST_PREAMBLE else 0
    mark = text[:start].strip()  # "**Translation:** …", "**Translation**: …", "## Summary"
    if end.group() == "\n":
        heading = mark.startswith("#") and re.fullmatch(_LABEL + "|" + _LABEL_ZH, head.rstrip(" :："), re.IGNORECASE)
        return end.end() if heading or (not mark and _LINE.fullmatch(head.rstrip())) else 0
    after, length = text[end.end() :], end.end()
    if mark and not mark.startswith("#"):
        if head.rstrip().endswith(mark):
            head = head.rstrip()[: -len(mark)]
        elif after.startswith(mark):
            after, length = after[len(mark) :], length + len(mark)
        else:
            return None if not complete and mark.startswith(after) else 0
    head = head.rstrip()
    if _CERTAIN.fullmatch(head) or (_INLINE.fullmatch(head) and not source_has_colon):
        return length
    if not _BEFORE_BREAK.fullmatch(head):
        return 0
    rest = after.lstrip(" \t\r")
    if not rest:
        return 0 if complete else None
    return length if rest[0] == "\n" else 0


def _may_be_chatter(head: str) -> bool:
    """Whether a first line that starts like this can still be a preamble."""
    return head in _BEGUN or head.startswith(_OPENINGS) or bool(_LABEL_STARTS.fullmatch(head))


def _unfenced(body: str, complete: bool) -> str:
    """The inside of a code fence around the whole body; the body where something follows the fence."""
    closing = body.find("```", 3)
    wraps = closing >= 0 and not body[closing + 3 :].strip()
    if not complete:
        return "" if closing < 0 or wraps else body
    match = _FENCE.match(body) if wraps else None
    return match.group(1) if match else body


def _unquoted(body: str, complete: bool) -> str:
    """The inside of quotes around the whole body; the body where they close earlier."""
    if complete:
        return body.rstrip()[1:-1] if _wrapped(body.rstrip()) else body
    closing = body.find(_QUOTES[body[0]], 1)
    return "" if closing < 0 or not body[closing + 1 :].strip() else body


def _wrapped(text: str) -> bool:
    return len(text) > 2 and text.find(_QUOTES.get(text[0], "\0"), 1) == len(text) - 1
