"""Write every page: ``python -m reference_pages``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs/reference"


def main() -> None:
    """Write what changed, and name it."""
    with tempfile.TemporaryDirectory() as home:
        # Airflow reads its settings when it is first imported; a page must not depend on somebody's.
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        from reference_pages.pages import PAGES  # noqa: PLC0415 - after the lines above

        for name, write in PAGES.items():
            path, text = FOLDER / f"{name}.md", write()
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                print(f"wrote docs/reference/{path.name}")


if __name__ == "__main__":
    main()
