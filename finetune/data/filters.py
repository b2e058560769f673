"""Rows that teach nothing, or the wrong thing: empty, endless, lopsided, in another language than they say."""

from finetune.data.config import DataConfig, Lengths
from finetune.data.row import Outcome, Row, Step, drop, keep
from pipelines.tasks import TASKS
from pipelines.text.languages import close_languages, detect, detectable, parse_language, same_language

__all__ = ["language_filter", "length_filter"]

_RATIO, _SHORTEST_COMPARED = 4.0, 20
_SURE, _SHORTEST_JUDGED = 0.95, 40
"""Confidence, and UTF-8 bytes, from which the language of a text is judged. On 46,000 pairs of translated software help
(en with fr, de, es, zh) that drops nine, all of them English where Spanish should be."""

_LONGEST_KANJI = 60
"""Characters up to which a Japanese text may do without kana: a title, a name. The detector calls it Chinese."""


def length_filter(lengths: Lengths, task: str) -> Step:
    """The step "lengths".

    Reasons: ``request_empty``, ``reply_empty``, ``too_short``, ``too_large``, ``lopsided`` (translation: one side much
    longer than the other, by UTF-8 bytes: a Chinese character has three and says what three letters say).
    """
    ratio, main = lengths.max_ratio or _RATIO, TASKS[task].text_fields[0]

    def step(row: Row) -> Outcome:
        *asked, reply = row.texts(task)
        request, size = sum(map(len, asked)), sum(map(len, asked)) + len(reply)
        # A glossary or a wish beside an empty text asks for nothing.
        text = row.request.get(main)
        if not (text if isinstance(text, str) else "".join(asked)).strip():
            return drop("request_empty")
        if not reply.strip():
            return drop("reply_empty")
        if min(request, len(reply)) < lengths.min_characters:
            return drop("too_short", characters=min(request, len(reply)), limit=lengths.min_characters)
        if size > lengths.max_characters:
            return drop("too_large", characters=size, limit=lengths.max_characters)
        if task == "translation":
            shorter, longer = sorted((len(row.request["text"].encode()), len(reply.encode())))
            if longer > _SHORTEST_COMPARED * ratio and longer > ratio * shorter:
                return drop("lopsided", ratio=round(longer / shorter, 1), limit=ratio)
        return keep(row)

    return step


def language_filter(config: DataConfig) -> Step:
    """The step "language": drops as ``wrong_language`` what is surely in another one.

    Judged are the sides of a translation, and otherwise the reply where the request names a language; with
    ``languages`` the reply always. Short texts are not judged, close languages (Danish and Norwegian) count as one, and
    code is none. Nor is a text judged that should be in a language that the detector does not know: it would call
    Yiddish Hebrew, and be sure of it.
    """
    wanted = tuple(map(parse_language, config.languages))

    def step(row: Row) -> Outcome:
        request = row.request
        if config.task == "code_generation":
            return keep(row)
        expected: list[tuple[str, tuple[str, ...]]] = []
        if config.task == "translation":
            if request.get("source", "auto") != "auto":
                expected.append((request["text"], (request["source"],)))
            expected.append((row.reply, (request["target"],)))
        elif language := request.get("language"):
            expected.append((row.reply, (language,)))
        if wanted:
            expected.append((row.reply, wanted))
        for text, languages in expected:
            found = _surely(text) if all(map(detectable, languages)) else None
            if found and not any(_passes_for(found, each, text) for each in languages):
                return drop("wrong_language", expected=list(languages), found=found)
        return keep(row)

    return step


def _passes_for(found: str, wanted: str, text: str) -> bool:
    if found == "zh" and same_language(wanted, "ja") and len(text) <= _LONGEST_KANJI:
        return True
    return same_language(found, wanted) or close_languages(found, wanted)


def _surely(text: str) -> str | None:
    """The language of a text that is long enough and clearly in one."""
    if len(text.encode()) < _SHORTEST_JUDGED:
        return None
    found = detect(text)
    return found[0] if found and found[1] >= _SURE else None
