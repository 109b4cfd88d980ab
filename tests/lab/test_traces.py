"""The three workflows are traced hop by hop, from what was recorded."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from deploy.compose import trace

HANDS = {
    "pod": ["POST Pod hello", "Pod hello created", "Pod hello bound to", "made a sandbox", "started a container",
            "Pod hello: Running, Ready"],
    "rc": ["POST ReplicationController shop", "ReplicationController shop created", "too few pods", "bound to",
           "started a container", "status: 2 of 2 ready"],
    "service": ["POST Service shop", "Service shop created", "Endpoints shop created", "rules written"],
}  # fmt: skip


@pytest.mark.parametrize("workflow", trace.WORKFLOWS)
def test_a_workflow_passes_through_every_hand_in_order(
    lab: None, workflow: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "trace.svg"
    trace.trace(workflow, picture)
    told = capsys.readouterr().out
    # A proxy writes rules for a service at once, to refuse, and again for its endpoints.
    positions = [told.rfind(hand) if hand == "rules written" else told.find(hand) for hand in HANDS[workflow]]
    assert -1 not in positions, told
    assert positions == sorted(positions), told
    drawn = ElementTree.fromstring(picture.read_text())
    texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert any(HANDS[workflow][-1] in text for text in texts)
