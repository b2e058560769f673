"""Code generation: a program or function from an instruction. Code is found and parsed here, never run."""

import re
from collections.abc import Callable, Collection, Mapping
from textwrap import indent
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from pipelines.engines.base import Call, Message
from pipelines.errors import InputError
from pipelines.generation import GenerationOptions, Note
from pipelines.prompts import Prompt
from pipelines.requests import TaskRequest, Text, validate
from pipelines.tasks.base import SMALLEST_REPLY, Run, Step, Steps, Stopped, Task
from pipelines.text.code import chosen_block, code_blocks, fenced, python_in_prose, syntax_problem

__all__ = ["Check", "CodeGeneration", "CodeRequest"]

_DEFINITION = re.compile(r"(?m)^(?:async +def|def|class) +(\w+)(?=[^\w])")
_TOP_LEVEL = re.compile(r"(?:async|def|class|import|from) |@")


class CodeRequest(TaskRequest):
    """What the code should do.

    Attributes:
        instruction: What is wanted, in words. Not needed beside a signature whose docstring says it.
        language: Programming language.
        signature: Start of a function that the code must complete: imports, ``def`` line, docstring.
        tests: Code that the result has to pass; the model sees it.
        repair: Rounds in which code that fails its checks goes back to the model.
    """

    instruction: Text | None = None
    language: Annotated[
        str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=40, pattern=r"^[\w+#.\- ]+$")
    ] = "python"
    signature: Text | None = None
    tests: Text | None = None
    repair: Annotated[int, Field(ge=0, le=5)] = 0

    @model_validator(mode="after")
    def _checked(self) -> "CodeRequest":
        if self.instruction is None and self.signature is None:
            raise InputError("field_missing", task="code_generation", field="instruction")
        return self


Check = Callable[[str, CodeRequest], str | None]
"""Looks at finished code, in a sandbox for instance: None where it is fine, else what went wrong."""


class CodeGeneration(Task[CodeRequest]):
    """Write code.

    Args:
        check: Called with code that parses; by default parsing is all that is checked.
        checked_languages: Those that ``check`` knows; None for all.
    """

    name = "code_generation"
    request_type = CodeRequest
    # Greedy: the most likely program is right more often than a sampled one (Chen et al., arXiv:2107.03374, figure 5).
    defaults = GenerationOptions(max_new_tokens=768, temperature=0.0, top_p=1.0, repetition_penalty=1.0)
    metrics = ("syntax", "empty")
    text_fields = ("instruction", "signature", "tests")

    def __init__(self, check: Check | None = None, checked_languages: Collection[str] | None = None) -> None:
        self.check = check
        self.checked_languages = checked_languages

    def fields_from_text(self, text: str) -> dict[str, Any]:
        """The text is the instruction."""
        return {"instruction": text}

    def messages(self, request: CodeRequest, prompt: Prompt) -> list[Message]:
        """The examples of the language (of a signature: ``<language>_signature``), then the request."""
        key = f"{request.language}_signature" if request.signature else request.language
        return prompt.messages(request.model_dump(), examples=key)

    def parse(self, reply: str, request: CodeRequest, *, complete: bool = True) -> str:
        """The code of the reply, with the signature before it where the model wrote only the body."""
        block = chosen_block(code_blocks(reply, complete=complete), request.language, complete=complete)
        if block is not None:
            return _completed(block.code, request, complete or block.closed)
        return (_unfenced(reply, request) or reply.strip()) if complete else ""

    def steps(self, request: CodeRequest, run: Run) -> Steps:
        """One call that is shown as it grows; with ``repair``, calls until the code passes, and only then its text."""
        call = run.call(self.messages(request, run.prompt), request)
        if request.repair and (request.language == "python" or self._check_of(request)):
            yield from self._repaired(call, request, run)
            return
        if request.repair or (request.tests and self.check and not self._check_of(request)):
            run.note("code_not_checked", language=request.language)
        (completion,) = yield Step([call], show=lambda reply, complete: self.parse(reply, request, complete=complete))
        self._note_extraction(completion.text, request, run)
        if problem := self._problem(self.parse(completion.text, request), request):
            run.notes.append(problem)
        else:
            self._note_passed(request, run)

    def from_row(self, row: Mapping[str, Any]) -> tuple[CodeRequest, str]:
        """Columns ``prompt`` or ``instruction``, and ``response``, ``output`` or ``code``.

        A prompt that starts a function and a response that is its body become a signature and the whole function.
        """
        question = next((name for name in ("prompt", "instruction") if isinstance(row.get(name), str)), None)
        answer = next((name for name in ("response", "output", "code") if isinstance(row.get(name), str)), None)
        if question is None or answer is None:
            expected = ["prompt or instruction", "response or output or code"]
            raise InputError("row_columns", task=self.name, expected=expected, found=list(row))
        text, reply = row[question], row[answer]
        fields = {name: row[name] for name in ("language", "signature", "tests") if row.get(name)}
        if "signature" not in fields and _DEFINITION.search(text) and reply.lstrip("\n")[:1] in (" ", "\t"):
            request = validate(CodeRequest, {**fields, "signature": text}, self.name)
            return request, fenced(_joined(text, reply.strip("\n")), request.language)
        request = validate(CodeRequest, {**fields, "instruction": text}, self.name)
        if not reply.strip():
            raise InputError("text_empty", field=answer)
        return request, reply if code_blocks(reply) else fenced(reply.strip("\n"), request.language)

    def _repaired(self, first: Call, request: CodeRequest, run: Run) -> Steps:
        """Ask until the code passes. Of codes that all fail, the last one that at least parses is the result."""
        call, rounds = first, 0
        best: tuple[str, Note | None, str] | None = None
        while True:
            try:
                (completion,) = yield Step([call])
            except Stopped as stop:
                run.note("repair_interrupted", rounds=rounds)
                yield best[0] if best else self.parse(stop.completions[0].text, request)
                return
            code = self.parse(completion.text, request)
            problem = self._problem(code, request)
            if best is None or _worse(best[1]) >= _worse(problem):
                best = code, problem, completion.text
            if problem is None or rounds == request.repair:
                break
            words = {**request.model_dump(), **problem.parameters, "code": code}
            messages: list[Message] = [
                *first.messages,
                {"role": "assistant", "content": fenced(code, request.language)},
                {"role": "user", "content": run.prompt.render("repair", words)},
            ]
            if not run.room(messages, request).fits(SMALLEST_REPLY):
                break
            rounds += 1
            # Another seed each time: the same one could draw the same mistake.
            seed = None if run.options.seed is None else (run.options.seed + rounds) % 2**63
            call = run.call(messages, request, seed=seed)
        code, problem, reply = best
        self._note_extraction(reply, request, run)
        if problem is None:
            self._note_passed(request, run)
        if problem is None and rounds:
            run.note("repaired", rounds=rounds)
        if problem is not None:
            run.notes.append(problem)
            run.note("repair_failed", rounds=rounds)
        yield code

    def _problem(self, code: str, request: CodeRequest) -> Note | None:
        if request.language == "python" and (found := syntax_problem(code)):
            return Note("syntax_error", {"line": found[0], "message": found[1]})
        if not code:
            return Note("no_code_found")
        if (check := self._check_of(request)) and (failed := check(code, request)):
            return Note("check_failed", {"problem": failed})
        return None

    def _check_of(self, request: CodeRequest) -> Check | None:
        known = self.checked_languages is None or request.language in self.checked_languages
        return self.check if known else None

    def _note_passed(self, request: CodeRequest, run: Run) -> None:
        if request.tests and self._check_of(request):
            run.note("tests_passed")

    def _note_extraction(self, reply: str, request: CodeRequest, run: Run) -> None:
        filled = [block for block in code_blocks(reply) if block.code]
        if len(filled) > 1:
            run.note("code_blocks_ignored", count=len(filled) - 1)
        if not filled and reply.strip() and _unfenced(reply, request) is None:
            run.note("no_code_found")


def _worse(problem: Note | None) -> int:
    """Order of problems: code that parses is nearer to the aim than code that does not."""
    return 0 if problem is None else 1 if problem.code == "check_failed" else 2


def _unfenced(reply: str, request: CodeRequest) -> str | None:
    """Python in a reply without a fence: a function, or the body of the one that was begun."""
    if request.language != "python":
        return None
    if code := python_in_prose(reply):
        return _completed(code, request, True)
    if request.signature and reply.strip():
        joined = _completed(reply.strip("\n"), request, True)
        return joined if syntax_problem(joined) is None and joined != reply.strip("\n") else None
    return None


def _completed(code: str, request: CodeRequest, whole: bool) -> str:
    """The code with the part of the signature that the model did not repeat; "" while that cannot be told yet."""
    definitions = list(_DEFINITION.finditer(request.signature or ""))
    if request.language != "python" or request.signature is None or not definitions or not code:
        return code
    lines = [line for line in code.split("\n") if line.strip() and not line.startswith("#")]
    first = lines[0] if lines else ""
    if first[:1] in (" ", "\t"):
        return _joined(request.signature, code)
    if not whole and not _TOP_LEVEL.match(first):
        return ""
    target = definitions[-1]
    own = _DEFINITION.match(first)
    if own is None and not whole and re.match("(?:async|def|class) ", first):
        return ""  # the name is not there yet
    if own and own[1] == target[1]:
        before = request.signature[: target.start()]  # imports and helpers that stand before the function
        return code if code.startswith(before.strip()) else before.lstrip("\n") + code
    if _TOP_LEVEL.match(first) or any(match[1] == target[1] for match in _DEFINITION.finditer(code)):
        return code
    joined = _joined(request.signature, indent(code, "    "))
    return joined if syntax_problem(joined) is None else code


def _joined(signature: str, body: str) -> str:
    head = signature.strip("\n").rstrip()
    last = head.split("\n")[-1]
    return f"{head}{'' if not _DEFINITION.match(last) or last.endswith(':') else ':'}\n{body}"
