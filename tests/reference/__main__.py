"""Write the generated pages of docs/; print which of them have changed."""

from __future__ import annotations

import sys

from . import pages

for path, text in pages().items():
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.name} was written\n")
