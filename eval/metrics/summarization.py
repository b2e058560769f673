"""Summarization: ROUGE for texts of any script, what a summary takes from its source, and what it brings in.

Coverage and density are those of Grusky et al. 2018 (arXiv:1804.11283). They describe: neither a copied nor a freely
worded summary is the better one by that alone.
"""

from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, fault_rate, mean, row_by_row
from eval.metrics.words import SIGNATURE, UnicodeTokenizer, grams, words
from pipelines.text.facts import unsupported as brought_in
from pipelines.text.split import Piece, sentences

__all__ = ["compression", "coverage", "density", "fragments", "lead", "novel_bigrams", "rouge", "unsupported"]


def rouge(kind: str) -> Metric:
    """Mean F-measure of ROUGE over the rows (Lin 2004), by the reference that fits best.

    Args:
        kind: ``rouge1``, ``rouge2``, ``rougeL``, or ``rougeLsum``, which compares sentence by sentence.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], tokenizer=UnicodeTokenizer())

    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        written = _lines(reply, row.language)
        found = (scorer.score(_lines(other, row.language), written)[kind].fmeasure for other in row.references)
        return 100 * max(found), 1

    name = f"ROUGE-{kind.removeprefix('rouge')}"
    signature = f"{name}|{SIGNATURE}|rouge-score|{version('rouge-score')}"
    of_rows = row_by_row(of_row)
    return Metric(kind, name, signature, of_rows, mean, best=100.0, worst=0.0, needs_references=True)


def lead(text: str, count: int = 3, language: str = "en") -> str:
    """The first sentences of a text: the summary that costs nothing, which news summarizers often fail to beat."""
    found = [piece.of(text) for piece in sentences(text, Piece(0, len(text)), language)]
    return "".join(found[:count]).strip()


def unsupported() -> Metric:
    """How many summaries have a number or a name that their source lacks (``pipelines.text.facts``)."""

    def invents(reply: str, row: BenchmarkRow) -> bool:
        return bool(brought_in(reply, row.request["text"], row.language))

    return fault_rate("unsupported", "numbers or names not in the source", "by their form", invents)


def compression() -> Metric:
    """Words of all sources for each word of the summaries."""
    of_row = _of_words(lambda reply, source: (len(source), len(reply)))
    return _described("compression", "compression", of_row)


def coverage() -> Metric:
    """Share of the words of a summary that stand in spans taken from the source, mean over the summaries."""

    def of_words(reply: list[str], source: list[str]) -> tuple[float, float]:
        return (100 * sum(fragments(reply, source)) / len(reply), 1) if reply else (0, 0)

    return _described("coverage", "extractive coverage", _of_words(of_words))


def density() -> Metric:
    """Mean length of the span that a word of a summary belongs to: 1 for single words, that of the summary for a copy.

    Words that the source lacks count as 0; mean over the summaries.
    """

    def of_words(reply: list[str], source: list[str]) -> tuple[float, float]:
        return (sum(length**2 for length in fragments(reply, source)) / len(reply), 1) if reply else (0, 0)

    return _described("density", "extractive density", _of_words(of_words))


def novel_bigrams() -> Metric:
    """Share of the word pairs of a summary that its source lacks, mean over the summaries (See et al. 2017)."""

    def of_words(reply: list[str], source: list[str]) -> tuple[float, float]:
        pairs, known = grams(reply, 2), set(grams(source, 2))
        return (100 * sum(pair not in known for pair in pairs) / len(pairs), 1) if pairs else (0, 0)

    return _described("novel_bigrams", "new word pairs", _of_words(of_words))


def fragments(summary: list[str], source: list[str]) -> list[int]:
    """Lengths of the spans that a summary takes from its source, found greedily (Grusky et al. 2018, figure 3)."""
    places = defaultdict(list)
    for place, word in enumerate(source):
        places[word].append(place)
    found, start = [], 0
    while start < len(summary):
        longest = max((_common(summary, start, source, place) for place in places[summary[start]]), default=0)
        if longest:
            found.append(longest)
        start += max(longest, 1)
    return found


def _common(one: list[str], start: int, two: list[str], place: int) -> int:
    length = 0
    while start + length < len(one) and place + length < len(two) and one[start + length] == two[place + length]:
        length += 1
    return length


OfWords = Callable[[list[str], list[str]], tuple[float, float]]


def _of_words(of_words: OfWords) -> Callable[[str, BenchmarkRow], tuple[float, float]]:
    return lambda reply, row: of_words(words(reply), words(row.request["text"]))


def _described(key: str, name: str, of_row: Callable[[str, BenchmarkRow], tuple[float, float]]) -> Metric:
    return Metric(key, name, f"{name}|{SIGNATURE}", row_by_row(of_row), mean, higher_is_better=None)


def _lines(text: str, language: str) -> str:
    """A sentence a line, as rougeLsum wants them: without, the same text on one line and on two scores 0.5."""
    return "\n".join(
        piece.of(line).strip() for line in text.splitlines() for piece in sentences(line, Piece(0, len(line)), language)
    )
