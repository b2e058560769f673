"""The web app: five tasks on one loaded model, one file per page.

    >>> from apps.web import launch
    >>> launch(model="scripted")  # doctest: +SKIP

Gradio takes seconds to import, so it is imported when a page is built, not here.
"""

from apps.web.app import build_demo, launch

__all__ = ["build_demo", "launch"]
