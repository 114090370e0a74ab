"""An auditable model as a graph, as an ONNX file and on the hub answers as it does itself."""

from __future__ import annotations

from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from test_audit_model import HOW, MEMBERS, STRANGERS, OwnNet, enhanced
from torch import nn

import amint_core as amint
from amint_core.audit import hub, onnx_graph
from amint_core.data.transforms import shifted
from amint_core.errors import AmintError, ModelError
from amint_core.model.inference import VIEWS, view
from benchmarks.outsiders import Tutorial

IMAGES = HOW.normalise(MEMBERS[:7])


@pytest.fixture(scope="module", params=[("one", False), ("flips", True)], ids=["one", "low_pass"])
def model(request):
    net = enhanced()
    views, net.low_pass = request.param
    return amint.auditable(net, HOW, STRANGERS, MEMBERS, views=views)


def test_both_outputs_as_a_graph_are_those_of_the_model(model):
    logits, membership = model.program().module()(IMAGES)
    torch.testing.assert_close(membership, model.score(IMAGES), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, model.classify(IMAGES), rtol=1e-4, atol=1e-5)


def test_membership_alone_needs_nothing_behind_the_deepest_tap(model):
    program = model.program(membership_only=True)
    membership = program.module()(IMAGES)
    torch.testing.assert_close(membership, model.score(IMAGES), rtol=1e-4, atol=1e-5)
    assert not [name for name in used_by(program) if "classify" in name]
    assert [name for name in used_by(model.program()) if "classify" in name]


def used_by(program) -> list[str]:
    """Names of the weights that operations of a graph read."""
    read = {
        node for one in program.graph.nodes for node in one.all_input_nodes if one.op != "output"
    }
    names = program.graph_signature.inputs_to_parameters
    return [names[node.name] for node in read if node.name in names]


@pytest.mark.parametrize("changes", [{}, {"low_pass": True}, {"count": 3}], ids=str)
def test_an_onnx_file_answers_as_the_model_for_any_number_of_images(changes, tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    images = torch.zeros(2, 3, 32, 32)
    made = amint.enhance(Tutorial(), ("conv1", "conv2"), images, width="fit", **changes)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), np.uint8)
    model = amint.auditable(made, amint.Preprocessing(32, 32), pixels)
    images = model.preprocessing.normalise(pixels[:5])
    expected = {"membership": model.score(images), "logits": model.classify(images)}
    for alone in (True, False):
        path = model.to_onnx(tmp_path / f"{alone}.onnx", membership_only=alone)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        assert names == (["membership"] if alone else ["logits", "membership"])
        answers = session.run(None, {"images": images.numpy()})
        for name, answer in zip(names, answers, strict=True):
            torch.testing.assert_close(
                torch.from_numpy(answer), expected[name], rtol=1e-4, atol=1e-4
            )


def test_a_model_that_cannot_be_drawn_is_named():
    class Deciding(OwnNet):
        def forward(self, batch):
            return super().forward(batch) * (2 if batch.sum() > 0 else 1)

    made = amint.enhance(Deciding(), ("first", "second"), torch.zeros(2, 3, 16, 16))
    model = amint.auditable(made, HOW, STRANGERS)
    with pytest.raises(ModelError, match=r"torch.export cannot follow the model"):
        model.program()


def test_every_view_is_drawn_as_it_is_seen():
    for one in VIEWS["flips_and_shifts"]:
        mirrored, *by = one
        images = IMAGES.flip(3) if mirrored else IMAGES
        assert torch.equal(view(IMAGES, *one), shifted(images, np.tile(by, (len(images), 1)))), one


def test_drawing_leaves_the_model_as_it_is(model):
    before = [type(one) for one in model.enhanced.modules()]
    onnx_graph.program(model, membership_only=True)
    assert [type(one) for one in model.enhanced.modules()] == before
    assert all(one.requires_grad for one in model.enhanced.parameters())


# The hub, without the network.


def test_a_folder_for_the_hub_holds_safetensors_and_a_card_and_comes_back(model, tmp_path):
    model.save_pretrained(tmp_path / "own")
    names = sorted(path.name for path in (tmp_path / "own").iterdir())
    assert names == ["README.md", "auditable.json", "model.safetensors", "scores.safetensors"]
    card = ModelCard.load(tmp_path / "own" / "README.md")
    assert card.data.library_name == "amint"
    assert "membership-inference" in card.data.tags
    assert "model=OwnNet()" in card.text
    back = amint.AuditableModel.from_pretrained(tmp_path / "own", model=OwnNet())
    assert torch.equal(back.score(IMAGES), model.score(IMAGES))
    assert torch.equal(amint.load(tmp_path / "own", OwnNet()).score(IMAGES), model.score(IMAGES))


def test_a_second_model_has_a_card_of_its_own_and_nobody_elses_is_lost(model, tmp_path):
    model.save_pretrained(tmp_path / "own")
    card = tmp_path / "own" / "README.md"
    other = replace(model, card={"notes": ["Trained anew."]})
    other.save_pretrained(tmp_path / "own")
    assert "Trained anew." in card.read_text(encoding="utf-8")
    card.write_text("Mine, in which much is recognised.", encoding="utf-8")
    model.save_pretrained(tmp_path / "own")
    assert card.read_text(encoding="utf-8").startswith("Mine")


def test_pushing_uploads_the_folder_and_fetching_takes_no_other_file(model, tmp_path, monkeypatch):
    seen = {}

    class Api:
        def __init__(self, token=None):
            seen["token"] = token

        def create_repo(self, repo_id, **given):
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, **given):
            seen["files"] = sorted(path.name for path in folder_path.iterdir())
            seen["card"] = (folder_path / "README.md").read_text(encoding="utf-8")
            for path in folder_path.iterdir():
                (tmp_path / path.name).write_bytes(path.read_bytes())
            return f"https://huggingface.co/{repo_id}/commit/1"

    def fetched(name, *, allow_patterns, **given):
        seen["asked"] = name, allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert model.push_to_hub("me/mine", token="t").endswith("me/mine/commit/1")
    assert seen["token"] == "t"
    assert not [name for name in seen["files"] if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert "from_pretrained('me/mine', model=OwnNet())" in seen["card"]
    monkeypatch.setattr(hub, "snapshot_download", fetched)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    config = lambda **given: str(tmp_path / "config.json")  # noqa: E731
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", config)
    back = amint.AuditableModel.from_pretrained("me/mine", model=OwnNet())
    assert seen["asked"] == ("me/mine", list(hub.FILES))
    assert torch.equal(back.score(IMAGES), model.score(IMAGES))


def test_without_the_extra_its_name_is_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr("amint_core.extras.find_spec", lambda name: None)
    with pytest.raises(AmintError, match=r"The extra 'onnx' brings"):
        model.to_onnx(tmp_path / "x.onnx")
    with pytest.raises(AmintError, match=r"The extra 'hub' brings"):
        model.save_pretrained(tmp_path)


def test_a_head_of_ones_own_is_drawn_too():
    class Sum(nn.Module):
        def forward(self, maps):
            return sum(one.flatten(1).sum(1) for one in maps)

    made = enhanced()
    made.head = Sum()
    model = amint.auditable(made, HOW, STRANGERS)
    membership = model.program(membership_only=True).module()(IMAGES)
    torch.testing.assert_close(membership, model.score(IMAGES), rtol=1e-3, atol=1e-3)
