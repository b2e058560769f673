"""``cinquain demo``: the five tasks once in the terminal, then the web app. ``make demo`` runs it after installing."""

import time
from typing import Annotated, Any

import typer

from apps.cli.run import Adapter, Model, print_notes, stream_to_terminal
from apps.cli.terminal import Language, console, say
from apps.cli.ui import serve

__all__ = ["REQUESTS", "app"]

app = typer.Typer(add_completion=False)

REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "translation",
        {
            "text": "The library opens at nine, and children may borrow three books.",
            "target": "fr",
            "max_new_tokens": 60,
        },
    ),
    (
        "summarization",
        {
            "text": "The old railway bridge over the river Alder was closed in March after engineers found cracks in "
            "two of its six pillars. The town now plans to rebuild it for walkers and cyclists only. Work begins in "
            "May, costs 4 million euros and should take eleven months. Until then a small ferry carries people across "
            "every twenty minutes, free of charge.",
            "length": "sentence",
            "max_new_tokens": 80,
        },
    ),
    (
        "dialogue",
        {
            "messages": [{"role": "user", "content": "I am tired and have one free hour this evening. Any ideas?"}],
            "max_new_tokens": 90,
        },
    ),
    (
        "code_generation",
        {
            "instruction": "Write a function that returns the n-th Fibonacci number.",
            "language": "python",
            "max_new_tokens": 140,
        },
    ),
    (
        "creative_writing",
        {"brief": "a lighthouse keeper who talks to the fog", "form": "poem", "length": "short", "max_new_tokens": 120},
    ),
)
"""One short request for each task: with the embedded model on two slow cores they take less than a minute together."""


@app.command()
def demo(
    model: Model = None,
    adapter: Adapter = None,
    with_ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Serve the web app afterwards.")] = True,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 7860,
    lang: Language = None,
) -> int:
    """Run the five tasks once on short inputs, then serve the web app."""
    from pipelines import DEFAULT_MODEL, TASKS, Pipeline
    from pipelines.engines import load_engine
    from pipelines.models.embedded import EMBEDDED

    screen = console()
    name = model or DEFAULT_MODEL
    started = time.perf_counter()
    engine = load_engine(name, adapter)  # fetches the embedded model, with a bar, where it is missing
    seconds = f"{time.perf_counter() - started:.1f}"
    screen.print(say("demo_loaded", model=name, seconds=seconds), style="dim")
    for limit in EMBEDDED[name].limits if name in EMBEDDED else ():
        screen.print(f"- {say(limit)}", style="dim", soft_wrap=True)
    for task, fields in REQUESTS:
        screen.print()
        screen.rule(say(f"demo_{task}"), align="left", style="cyan", characters="─")
        screen.print(_question(fields), style="dim", soft_wrap=True)
        screen.print()
        pipeline = Pipeline(TASKS[task](), engine)
        generation, removed = stream_to_terminal(pipeline, {**fields, "seed": 7})
        if generation.finish_reason == "cancelled":
            return 130
        print_notes(generation, removed, speed=True)
    if not with_ui:
        return 0
    screen.print()
    return serve(model, adapter, host, port, engine=engine)


def _question(fields: dict[str, Any]) -> str:
    """What is asked, in one line."""
    if "messages" in fields:
        return str(fields["messages"][-1]["content"])
    text = fields.get("text") or fields.get("instruction") or fields["brief"]
    return f"{text} → {fields['target']}" if "target" in fields else str(text)
