"""``cinquain publish``: a verified Gradio Space on the Hugging Face Hub."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli.run import Adapter, EngineOptions, Model, parse_engine_options
from apps.cli.terminal import Language, console, language, say, to_json

if TYPE_CHECKING:
    from apps.publish.order import Order
    from apps.publish.verifying import Verified

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def publish(
    space: Annotated[
        str,
        typer.Argument(
            help="translation, summarization, dialogue, code_generation, creative_writing or suite.", show_default=False
        ),
    ],
    to: Annotated[str, typer.Option("--to", help="The Space on the Hub: user/name.", show_default=False)],
    model: Model = None,
    adapter: Adapter = None,
    hardware: Annotated[str, typer.Option(help="Hardware of the Hub, such as cpu-basic or zero-a10g.")] = "cpu-basic",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Verify on this machine, and send nothing.")] = False,
    scripted: Annotated[
        bool,
        typer.Option(
            "--scripted", help="Try the Space with the scripted engine: for a Hub model that this machine cannot run."
        ),
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see new repositories.")] = False,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="Set a secret from the environment variable of that name.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--variable", help="Set a variable from the environment variable of that name.")
    ] = None,
    page_language: Annotated[str, typer.Option("--page", help="Language of the page: en or zh.")] = "en",
    engine: EngineOptions = None,
    status: Annotated[bool, typer.Option("--status", help="Only say how the Space is.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the revision before.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the Space and the weights sent with it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lang: Language = None,
) -> int:
    """Publish a Space: stage it, verify it, send it, wait for it, ask it."""
    from apps.publish.order import Order, named_values
    from pipelines import DEFAULT_MODEL
    from pipelines.models.progress import Progress

    progress = Progress(quiet=quiet or as_json, language=language())
    if status or rollback or delete:
        return _manage(to, progress, rollback=rollback, delete=delete, yes=yes, as_json=as_json)
    order = Order(
        space, to, model or DEFAULT_MODEL, adapter, language=page_language, hardware=hardware, private=not public,
        secrets=named_values(secret or [], "--secret"), variables=named_values(variable or [], "--variable"),
        engine=parse_engine_options(engine), scripted=scripted, progress=progress,
    )  # fmt: skip
    return _dry_run(order, as_json=as_json) if dry_run else _publish(order, as_json=as_json)


def _dry_run(order: "Order", *, as_json: bool) -> int:
    from apps.publish.verifying import verify

    with order.alone():
        verified = verify(order)
    if as_json:
        typer.echo(to_json(_plain(verified), indent=2))
        return 0
    _show(verified)
    console().print(say("publish_dry", to=order.to, place=str(verified.staged.folder)), style="bold", soft_wrap=True)
    return 0


def _publish(order: "Order", *, as_json: bool) -> int:
    from apps.publish.publishing import publish as published

    done = published(order)
    if as_json:
        figures = {"address": done.address, "commit": done.commit, "changed": done.changed}
        replies = [vars(reply) for reply in done.replies]
        typer.echo(to_json({**figures, "replies": replies, "verified": _plain(done.verified)}, indent=2))
        return 0
    _show(done.verified)
    screen = console()
    for reply in done.replies:
        _show_reply("publish_live_reply", reply)
    code = "publish_done" if done.replies else "publish_done_unasked"
    screen.print(say(code, address=done.address, changed=done.changed), style="bold", soft_wrap=True)
    return 0


def _manage(to: str, progress: Any, *, rollback: bool, delete: bool, yes: bool, as_json: bool) -> int:
    from apps.publish import managing

    if rollback:
        made = managing.roll_back(to, progress)
        typer.echo(to_json({"commit": made}) if as_json else say("publish_rolled_back", to=to, commit=made[:12]))
        return 0
    found = managing.status(to)
    if delete:
        if not yes and not typer.confirm(say("publish_delete_ask", repositories=found.repositories), err=True):
            return 1
        gone = managing.delete(to)
        typer.echo(to_json({"deleted": gone}) if as_json else say("publish_deleted", repositories=gone))
        return 0
    if as_json:
        typer.echo(to_json(vars(found), indent=2))
    else:
        seen = say("publish_private" if found.private else "publish_public")
        facts = {**vars(found), "commit": found.commit[:12], "seen": seen}
        console().print(say("publish_status", **facts), soft_wrap=True)
    return 0


def _show(verified: "Verified") -> None:
    """What was found, one line each."""
    from pipelines.wording import sentence

    screen, trial = console(), verified.trial
    screen.print(say("publish_resolved", packages=verified.packages), soft_wrap=True)
    screen.print(say("publish_ran", python=trial.python, seconds=f"{trial.ready_s:.1f}"), soft_wrap=True)
    for reply in trial.replies:
        _show_reply("publish_reply", reply)
    for note in verified.notes:
        screen.print(sentence(note, language()), soft_wrap=True)


def _show_reply(code: str, reply: Any) -> None:
    text = " ".join(reply.text.split())[:80]
    console().print(say(code, endpoint=reply.endpoint, seconds=f"{reply.seconds:.1f}", text=text), soft_wrap=True)


def _plain(verified: "Verified") -> dict[str, Any]:
    """As JSON data."""
    from dataclasses import asdict

    staged, weights = verified.staged, verified.weights
    upload = weights.upload and {"repository": weights.upload.repository, "bytes": weights.upload.bytes}
    return {
        "folder": str(staged.folder), "files": len(staged.files), "bytes": staged.bytes,
        "model": weights.model, "upload": upload, "packages": verified.packages, "trial": asdict(verified.trial),
        "notes": [asdict(note) for note in verified.notes],
    }  # fmt: skip
