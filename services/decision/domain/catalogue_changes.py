"""What differs between two catalogues."""

from dataclasses import dataclass

from services.decision.domain.catalogue import ActionStatus, Catalogue


@dataclass(frozen=True, slots=True)
class CatalogueChanges:
    """Keys of actions, in the order of the catalogue they stand in."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed_while_active: tuple[str, ...]


def compare_catalogues(old: Catalogue | None, new: Catalogue) -> CatalogueChanges:
    before = {action.key: action for action in old.actions} if old else {}
    after = {action.key: action for action in new.actions}
    removed = [action for key, action in before.items() if key not in after]
    return CatalogueChanges(
        added=tuple(key for key in after if key not in before),
        removed=tuple(action.key for action in removed),
        changed=tuple(key for key in after if key in before and after[key] != before[key]),
        unchanged=tuple(key for key in after if key in before and after[key] == before[key]),
        removed_while_active=tuple(
            action.key for action in removed if action.status is ActionStatus.ACTIVE
        ),
    )
