"""Score wordings of a task's prompt on rows, so that a prompt is chosen by measurement.

    python bench/prompts.py translation rows.jsonl --prompt a.yaml --prompt b.yaml --limit 100

Every wording answers the same rows with the same model, greedy. Prints one Markdown table row for each; the figures
that led to the shipped prompts are in ``pipelines/tasks/README.md``.
"""

import argparse
import ast
import json
import statistics
import time
from pathlib import Path
from typing import Any

import yaml

from pipelines import TASKS, Generation, Prompt, pipeline
from pipelines.pipeline import Pipeline
from pipelines.prompts import load_prompt
from pipelines.text.diversity import distinct_n


def scores(
    task: str, results: list[Generation], references: list[str], fields: list[dict[str, Any]]
) -> dict[str, float]:
    """The figures that judge a wording of this task; higher is better unless the name says otherwise."""
    texts = [result.text for result in results]
    if task == "translation":
        import sacrebleu

        wrong = sum(any(note.code == "wrong_language" for note in result.notes) for result in results)
        lost = sum(any(note.code == "translation_lost" for note in result.notes) for result in results)
        target = fields[0]["target"]
        tokenize = "zh" if target.startswith("zh") else "13a"
        return {
            "chrF++": sacrebleu.corpus_chrf(texts, [references], word_order=2).score,
            "BLEU": sacrebleu.corpus_bleu(texts, [references], tokenize=tokenize).score,
            "wrong language %": 100 * wrong / len(texts),
            "something lost %": 100 * lost / len(texts),
        }
    if task == "summarization":
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
        each = [scorer.score(reference, text) for reference, text in zip(references, texts, strict=True)]
        invented = sum(any(note.code == "summary_unsupported" for note in result.notes) for result in results)
        return {
            "ROUGE-1": 100 * statistics.mean(score["rouge1"].fmeasure for score in each),
            "ROUGE-L": 100 * statistics.mean(score["rougeL"].fmeasure for score in each),
            "words": statistics.mean(len(text.split()) for text in texts),
            "invented %": 100 * invented / len(texts),
        }
    if task == "code_generation":
        return {
            "parses %": 100 * statistics.mean(_parses(text) for text in texts),
            "defines the function %": 100 * statistics.mean(map(_defines, texts, references)),
            "no code %": 100 * statistics.mean(any(n.code == "no_code_found" for n in r.notes) for r in results),
        }
    failed = sum(any(note.code == "form_check" for note in result.notes) for result in results)
    return {
        "distinct-2": 100 * statistics.mean(distinct_n([text], 2) for text in texts),
        "form failed %": 100 * failed / len(texts),
        "words": statistics.mean(len(text.split()) for text in texts),
        "at limit %": 100 * statistics.mean(result.finish_reason == "length" for result in results),
    }


def _parses(code: str) -> bool:
    try:
        return bool(ast.parse(code).body)
    except (SyntaxError, ValueError):
        return False


def _defines(code: str, reference: str) -> bool:
    name = next(word for word in reference.replace("(", " ").split("def ")[1:2]).split()[0]
    return f"def {name}" in code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("rows", type=Path, help="JSONL in a shape that the task's from_row knows")
    parser.add_argument(
        "--prompt", type=Path, action="append", default=[], help="a prompt file; the shipped one without"
    )
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a request field for all rows"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--show", type=int, default=0, help="print this many results of each wording")
    arguments = parser.parse_args()
    base = pipeline(arguments.task, model=arguments.model)
    changes = dict(each.split("=", 1) for each in arguments.set)
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()[: arguments.limit]
    rows = [base.task.from_row(json.loads(line)) for line in lines]
    fields = [{**request.model_dump(exclude_unset=True), **changes} for request, _ in rows]
    references = [reply for _, reply in rows]
    for path in arguments.prompt or [None]:
        prompt = (
            load_prompt(arguments.task) if path is None else Prompt.model_validate(yaml.safe_load(path.read_text()))
        )
        started = time.perf_counter()
        results = Pipeline(base.task, base.engine, prompt).batch(
            fields,
            max_new_tokens=arguments.max_new_tokens,
            temperature=arguments.temperature,
            repetition_penalty=arguments.repetition_penalty,
            seed=0,
        )
        figures = scores(arguments.task, results, references, fields)
        cells = " | ".join(f"{name} {value:.1f}" for name, value in figures.items())
        print(f"| {path.stem if path else 'shipped'} | {cells} | {time.perf_counter() - started:.0f} s |", flush=True)
        for field, result, reference in list(zip(fields, results, references, strict=True))[: arguments.show]:
            print(json.dumps({"fields": field, "text": result.text, "reference": reference}, ensure_ascii=False))


if __name__ == "__main__":
    main()
