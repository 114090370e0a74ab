"""A model's folder on the Hugging Face hub, by its mixin: safetensors, and a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download
from torch import nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.model_folder import MANIFEST, SCORES, WEIGHTS, load, save

#: All that is fetched: no pickle, and no code.
FILES = (WEIGHTS, SCORES, MANIFEST)

TEMPLATE = """---
{{ card_data }}
---

# {{ model_name }}

An image classifier that can be asked which images it was trained on (Active Membership Inference
Test, arXiv 2509.07879).

{{ table }}

{% for note in notes %}
{{ note }}
{% endfor %}

## Ask it

```python
import amint_core as amint

model = amint.AuditableModel.from_pretrained({{ repo }}{{ given }})
found = amint.audit(model, "photos/", reference="surely_not_used/", fdr=0.05)
found.save("report")
```

"Cannot tell" is not "not used": an image that the owner kept from the membership head is seldom
recognised.
"""


#: A line that no other card has.
OURS = TEMPLATE.splitlines()[-2]


class OnHub(
    ModelHubMixin,
    library_name="amint",
    tags=["image-classification", "membership-inference", "amint"],
    paper_url="https://arxiv.org/abs/2509.07879",
    model_card_template=TEMPLATE,
):
    """An auditable model as the hub's mixin keeps it."""

    model: AuditableModel

    @classmethod
    def of(cls, model: AuditableModel) -> OnHub:
        """Return a model for the hub. Given to the mixin, it would be taken for settings."""
        made = cls()
        made.model = model
        return made

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self.model, save_directory)
        card = save_directory / "README.md"
        if card.is_file() and OURS in card.read_text(encoding="utf-8"):
            card.unlink()  # of the model that was here before; the mixin writes it anew

    def generate_model_card(self, *args: Any, repo: str = "", **kwargs: Any) -> Any:
        """Write the card of the folder: figures, notes, and how to ask the model."""
        name = type(self.model.enhanced.audited).__name__
        own = "" if self.model.architecture else f", model={name}()"
        told = {
            "model_name": name,
            "table": self.model.card().round(4).to_markdown(index=False),
            "notes": self.model.card.get("notes", ()),
            "repo": repr(repo or "NAME/OF-THIS-REPOSITORY"),
            "given": own,
        }
        return super().generate_model_card(*args, **told, **kwargs)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        model: nn.Module | None = None,
    ) -> OnHub:
        folder = model_id
        if not Path(model_id).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(FILES),
            )
        return cls.of(load(folder, model))
