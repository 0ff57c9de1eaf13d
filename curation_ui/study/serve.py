"""Runs the server of a study until it is told to stop."""

from __future__ import annotations

from curation_ui.serve import listen, run, shown
from curation_ui.study.routes import create_study_app
from curation_ui.study.server import StudyServer, StudySettings


def serve_study(settings: StudySettings, host: str, port: int, invite: int = 0) -> None:
    """Serve a study at ``host:port`` (0: any free port) until a signal; prints the link to enter with, and
    ``invite`` links for others.

    Raises:
        MashbillError: the port is taken, or the study cannot be opened.
    """
    listener = listen(host, port)
    app = create_study_app(settings)
    server: StudyServer = app.state.review
    base = settings.public_url or f"http://{shown(host)}:{listener.getsockname()[1]}"
    print(f"study {settings.study.name}: {base}/enter#{server.enter_token}")
    for name, token in server.invite(invite):
        print(f"{name}: {base}/enter#{token}")
    print("each link works once, in one browser; Ctrl+C stops, every vote is kept at once", flush=True)
    try:
        run(app, listener)
    finally:
        server.close()
