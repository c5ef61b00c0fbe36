"""What goes into a source distribution."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_documents_link_to_is_in_it():
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    packed = {word for rule, *words in lines for word in words if rule in ("graft", "include")}
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\(([^)#:]+)[)#]", (ROOT / document).read_text())
        assert {link.split("/")[0] for link in links} <= packed, document
    assert ".clang-format" in packed  # which .ci/run goes by
