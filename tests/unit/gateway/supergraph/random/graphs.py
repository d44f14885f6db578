"""Draw a world: a merged schema, spread over services so that it composes."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.unit.gateway.supergraph.random.world import LEAVES, ROOTS, Abstract, Field, Type, World

KEYS = ("id", "code", "region no", "tag { name }", "no owner { id }")
KEY_FIELDS = {"id": "ID!", "code": "String!", "region": "String!", "no": "Int!", "tag": "Tag!"}
WRAPPED = ("{}", "{}", "{}!", "[{}]", "[{}!]", "[{}!]!", "[[{}]!]")
ARGUMENTS = {
    "by": "Int = 3",
    "at": "Int",
    "kind": "Kind = GOOD",
    "filter": "Filter",
    "all": "[Int!]",
    "must": "String!",
}


def draw_world(random: Random) -> World:
    """A graph of two to five services, and perhaps one more that has an interface object."""
    return _Drawing(random).world()


@dataclass
class _Drawing:
    random: Random

    def world(self) -> World:
        random = self.random
        services = [f"s{n}" for n in range(random.randint(2, 5))]
        self._world = World(random.randint(0, 10**6), services)
        self._world.known = {service: set() for service in services}
        self._ordinary = services[:]
        for root in ROOTS:
            self._world.types[root] = Type(root)
        self._draw_values()
        self._draw_entities()
        self._draw_abstracts()
        for entity in self._entities:
            self._draw_fields(entity)
        self._draw_interface_object()
        self._draw_roots()
        for entity in self._entities:
            self._draw_overrides(entity)
            self._draw_provided(entity)
            self._draw_requiring(entity)
            self._hide(entity)
        self._spread_values()
        self._extend()
        return self._world

    def _chance(self, of: float) -> bool:
        return self.random.random() < of

    def _some(self, of: list[str], most: int = 9) -> list[str]:
        count = self.random.randint(1, min(most, len(of)))
        return sorted(self.random.sample(of, count))

    # Types

    def _draw_values(self) -> None:
        """Values: `V1` may hold a `V0`, `Tag` is for keys."""
        for name in ("Tag", "V0", "V1"):
            value = self._world.types[name] = Type(name)
            value.add(Field("name", "String!"))
            value.add(self._leaf("size"))
            if name != "Tag":
                value.add(self._leaf("about", fails=True))
        if self._chance(0.5):
            self._world.types["V1"].add(Field("inner", self._wrapped("V0")))
        hidden = self._world.types["H0"] = Type("H0", is_hidden=True)
        hidden.add(Field("name", "String!"))

    def _draw_entities(self) -> None:
        names = [f"E{n}" for n in range(self.random.randint(2, 4))]
        self._entities = [Type(name) for name in names]
        for entity in self._entities:
            self._world.types[entity.name] = entity
            entity.all_keys = ["id", *self._some(list(KEYS[1:]), 2)][: self.random.randint(1, 3)]
            self.random.shuffle(entity.all_keys)
            others = [name for name in names if name != entity.name]
            for key in sorted(entity.all_keys):
                for word in key.replace("{", "").replace("}", "").split():
                    if word == "owner":
                        entity.add(Field("owner", f"{self.random.choice(others)}!"))
                    elif word != "name" and not (word == "id" and key != "id"):
                        entity.add(Field(word, KEY_FIELDS[word]))
        for entity in self._entities:
            owner = entity.fields.get("owner")
            if owner and "id" not in self._world.types[owner.named].fields:
                entity.all_keys = [key for key in entity.all_keys if "owner" not in key] or ["id"]
                del entity.fields["owner"]
                entity.fields.setdefault("id", Field("id", "ID!"))
        if self._chance(0.3):
            self._world.types["V1"].add(Field("of", self._wrapped(self.random.choice(names))))
        for entity in self._entities:
            home = self.random.choice(self._world.services)
            entity.keys[home] = {}
            self._know(home, entity.name)
            entity.keys[home] = dict.fromkeys(self._shuffled(entity.all_keys), True)
            self._know_keys(home, entity)

    def _shuffled(self, of: list[str]) -> list[str]:
        return self.random.sample(of, len(of))

    def _draw_abstracts(self) -> None:
        names = [entity.name for entity in self._entities]
        with_id = [e.name for e in self._entities if "id" in e.all_keys]
        if self._chance(0.8):
            hidden = ["H0"] if self._chance(0.2) else []
            self._add_abstract(Abstract("U0", [*self._some([*names, "V0", "V1"]), *hidden]))
        if with_id and self._chance(0.6):
            self._add_abstract(Abstract("I0", self._some(with_id), {"id": "ID!"}))
        if self._chance(0.5):
            members = [*self._some(names), *self._some(["V0", "V1"])]
            self._add_abstract(Abstract("J0", members, {"title": "String"}))
            for name in members:
                type_ = self.random.choice(("String", "String", "String!"))
                self._world.types[name].add(Field("title", type_, fails=self._chance(0.2)))
        self._draw_keyed_interface(with_id)

    def _draw_keyed_interface(self, with_id: list[str]) -> None:
        if not with_id or self._chance(0.5):
            return
        home = self.random.choice(self._world.services)
        fields = {"id": "ID!", "common": self._wrapped(self._leaf_type())}
        found = self._add_abstract(Abstract("N0", self._some(with_id), fields, key="id", home=home))
        for name in found.members:
            self._world.types[name].add(Field("common", fields["common"], owners=[home]))
        self._know(home, "N0")
        for name in found.members:
            self._world.types[name].keys[home]["id"] = True

    def _add_abstract(self, abstract: Abstract) -> Abstract:
        self._world.abstracts[abstract.name] = abstract
        if not abstract.is_union:
            for name in abstract.members:
                self._world.types[name].interfaces.append(abstract.name)
        return abstract

    # Knowing: what a type's presence in a service's SDL brings with it

    def _know(self, service: str, name: str) -> None:
        known = self._world.known[service]
        if name in known or name in LEAVES:
            return
        known.add(name)
        if abstract := self._world.abstracts.get(name):
            self._know_abstract(service, abstract)
            return
        type_ = self._world.types[name]
        if type_.all_keys:
            self._know_entity(service, type_)
        elif name not in ROOTS:
            for found in type_.fields.values():
                self._know(service, found.named)

    def _know_entity(self, service: str, entity: Type) -> None:
        if service not in entity.keys:
            is_stub = self._chance(0.3)
            entity.keys[service] = {
                key: not is_stub and self._chance(0.9) for key in self._some(entity.all_keys)
            }
        self._know_keys(service, entity)

    def _know_keys(self, service: str, entity: Type) -> None:
        for name in entity.key_fields(service):
            found = entity.fields[name]
            self._know(service, found.named)
            if name == "owner":
                self._give_id(service, found.named)

    def _give_id(self, service: str, name: str) -> None:
        entity = self._world.types[name]
        if "id" in entity.all_keys:
            entity.keys[service].setdefault("id", self._chance(0.5))

    def _know_abstract(self, service: str, abstract: Abstract) -> None:
        if abstract.object_in == service:
            return
        members = abstract.members if abstract.home == service else self._some(abstract.members)
        if members == ["H0"]:
            members = abstract.members
        for name in members:
            self._know(service, name)
        for name in abstract.members:
            if name in self._world.known[service] and "id" in abstract.fields:
                self._give_id(service, name)

    def _finish_interfaces(self) -> bool:
        """Give each service the fields its interfaces have, on types it got to know later."""
        changed = False
        for service, known in self._world.known.items():
            for name in sorted(known & set(self._world.abstracts)):
                abstract = self._world.abstracts[name]
                for member in set(abstract.members) & known:
                    type_ = self._world.types[member]
                    if "id" in abstract.fields and "id" not in type_.key_fields(service):
                        self._give_id(service, member)
                        changed = True
                    title = type_.fields.get("title")
                    if "title" in abstract.fields and title and service not in title.owners:
                        title.owners.append(service)
                        self._own(service, type_, title)
                        changed = True
        return changed

    # Fields

    def _leaf_type(self) -> str:
        return self.random.choice(sorted(LEAVES))

    def _wrapped(self, name: str) -> str:
        return self.random.choice(WRAPPED).format(name)

    def _leaf(self, name: str, *, fails: bool = False) -> Field:
        has_nulls = self._chance(0.5)
        found = Field(name, self._wrapped(self._leaf_type()), has_nulls=has_nulls)
        found.fails = fails and self._chance(0.4)
        return found

    def _draw_fields(self, entity: Type) -> None:
        for n in range(self.random.randint(2, 5)):
            found = entity.add(self._leaf(f"f{n}", fails=True))
            self._draw_arguments(found)
            self._place(entity, found)
        for n in range(self.random.randint(1, 3)):
            found = entity.add(self._connection(f"to{n}"))
            self._draw_arguments(found)
            self._place(entity, found)

    def _connection(self, name: str) -> Field:
        targets = [*(entity.name for entity in self._entities), "V0", "V1"]
        targets += [a for a in self._world.abstracts if a != "N0" or self._chance(0.5)] * 2
        target = self.random.choice(targets)
        type_ = self._wrapped(target)
        if target in self._world.abstracts and type_.rstrip("!") == target:
            type_ = target  # services may know no type in common, and then it is null
        return Field(name, type_.replace("]!]", "]]"), fails=self._chance(0.15))

    def _draw_arguments(self, found: Field) -> None:
        if self._chance(0.4):
            names = self._some(sorted(ARGUMENTS), 2) if self._chance(0.6) else ["by"]
            found.arguments = {name: ARGUMENTS[name] for name in names}

    def _place(self, entity: Type, found: Field) -> None:
        """Let one service own a field, or some share it."""
        for service in self._some(self._ordinary, 3 if self._chance(0.3) else 1):
            found.owners.append(service)
            self._own(service, entity, found)
        is_never_null = not found.fails and not found.has_nulls
        if len(found.owners) > 1 and is_never_null and found.type in LEAVES:
            found.stricter = set(self._some(found.owners)) - {found.owners[0]}

    def _own(self, service: str, entity: Type, found: Field) -> None:
        self._know(service, entity.name)
        if entity.all_keys and not any(entity.keys[service].values()):
            entity.keys[service][self.random.choice(entity.all_keys)] = True
            self._know_keys(service, entity)
        self._know(service, found.named)

    def _draw_roots(self) -> None:
        query, mutation = (self._world.types[root] for root in ROOTS)
        for n in range(self.random.randint(3, 6)):
            found = query.add(
                self._leaf(f"q{n}", fails=True) if n == 0 else self._connection(f"q{n}")
            )
            self._draw_arguments(found)
            self._place(query, found)
        if self._chance(0.4):
            self._draw_own_value(query)
        if self._chance(0.4):
            self._draw_parts(query)
        for n in range(self.random.randint(0, 3)):
            leaf = Field(f"m{n}", "Int", has_nulls=False)
            found = mutation.add(leaf if self._chance(0.4) else self._connection(f"m{n}"))
            self._draw_arguments(found)
            found.owners = [self.random.choice(self._ordinary)]
            self._own(found.owners[0], mutation, found)
        for root in ROOTS:
            if not self._world.types[root].fields:
                del self._world.types[root]

    def _draw_own_value(self, query: Type) -> None:
        """A value that one service keeps to itself, and that may hold values like itself."""
        owners = [self.random.choice(self._ordinary)]
        own = self._world.types["W0"] = Type("W0")
        entity = self.random.choice(self._entities).name
        connections = [Field("to0", self._wrapped(entity)), Field("inner", "W0")]
        for found in (self._leaf("f0", fails=True), self._leaf("name"), *connections):
            own.add(found).owners = owners
            self._draw_arguments(found)
        root = query.add(Field("w0", self.random.choice(("W0", "[W0!]", "[W0]!")), owners=owners))
        self._world.known[owners[0]] |= {"W0", "Query"}
        self._know(owners[0], entity)
        self._draw_arguments(root)

    def _draw_parts(self, query: Type) -> None:
        """A value of which each service knows a part, so that all must return it."""
        owners = self._some(self._ordinary, 3)
        value = self._world.types["P0"] = Type("P0")
        for n, owner in enumerate(owners):
            value.add(self._leaf(f"f{n}", fails=True)).owners = [owner]
        value.add(self._leaf("f8")).owners = self._some(owners)
        to = value.add(Field("to0", self._wrapped(self.random.choice(self._entities).name)))
        to.owners = [self.random.choice(owners)]
        self._know(to.owners[0], to.named)
        for owner in owners:
            self._world.known[owner].add("P0")
        entity = self.random.choice(self._entities)
        for type_, name in ((query, "p0"), (entity, "p1")):
            found = type_.add(Field(name, self._wrapped("P0"), owners=owners))
            self._draw_arguments(found)
            for owner in owners:
                self._own(owner, type_, found)

    def _draw_interface_object(self) -> None:
        """A service that knows an interface only as an object, and adds to it."""
        interface = self._world.abstracts.get("N0")
        if interface is None or self._chance(0.2):
            return
        self._world.services.append("io")
        self._world.known["io"] = set()
        interface.object_in = "io"
        self._know("io", "N0")
        fields = [self._leaf("added0", fails=True), Field("added1", self._wrapped("V0"))]
        fields.append(Field("added2", self.random.choice(("N0", "[N0!]!", "[N0]"))))
        common = self._world.types[interface.members[0]].fields["common"]
        if not common.arguments and self._chance(0.5):
            fields.append(self._leaf("added3"))
            fields[-1].requires = "common"
        for found in fields:
            found.owners, found.interface = ["io"], "N0"
            self._draw_arguments(found)
            self._know("io", found.named)
            for name in interface.members:
                self._world.types[name].add(found)
        for n in range(self.random.randint(1, 2)):
            found = Field(f"io{n}", self.random.choice(("N0", "[N0!]", "[N0]!")), owners=["io"])
            self._world.types["Query"].add(found)
        self._know("io", "Query")

    # What services say of each other's fields

    def _plain(self, entity: Type) -> Iterator[Field]:
        """Leaves of an entity that one service resolves, without further ado."""
        for found in entity.fields.values():
            is_own = len(found.owners) == 1 and found.name.startswith("f")
            if is_own and found.is_leaf and not found.taken and not found.requires:
                yield found

    def _knowing(self, entity: Type) -> list[str]:
        """Services that can be entered at an entity, in which anything may be added to it."""
        return [s for s in entity.keys if any(entity.keys[s].values())]

    def _draw_overrides(self, entity: Type) -> None:
        for found in list(self._plain(entity)):
            others = [s for s in self._knowing(entity) if s not in found.owners]
            if others and self._chance(0.3):
                new = self.random.choice(others)
                label = self.random.choice((None, "beta", "percent(50)"))
                found.taken = (new, found.owners[0], label)
                found.owners.append(new)

    def _draw_provided(self, entity: Type) -> None:
        """Somewhere on the way to an entity, a field of it is there without entering it."""
        for found in list(self._plain(entity)):
            possible_types = [
                (owner, way, text)
                for owner, way, text in self._ways_to(entity, found)
                if owner not in found.owners
            ]
            if possible_types and not found.arguments and self._chance(0.4):
                owner, way, text = self.random.choice(possible_types)
                way.provides[owner] = f"{way.provides.get(owner, '')} {text}".strip()
                entity.externals.setdefault(owner, set()).add(found.name)
                self._share(entity, found)

    def _ways_to(self, entity: Type, found: Field) -> Iterator[tuple[str, Field, str]]:
        """Fields that lead to an entity, alone or over another one, by who resolves them."""
        for type_ in self._world.types.values():
            for way in type_.fields.values():
                if len(way.owners) != 1 or way.interface or way.is_leaf or type_.name[0] == "V":
                    continue
                owner = way.owners[0]
                if owner == "io":
                    continue
                for name in self._world.members_in(owner, way.named):
                    text = f"... on {name} {{ $ }}" if way.named != name else "$"
                    if name == entity.name:
                        yield owner, way, text.replace("$", found.name)
                    for over in self._world.types[name].fields.values():
                        is_plain = not over.arguments and not over.interface
                        if over.named == entity.name and over.owners == [owner] and is_plain:
                            below = f"{over.name} {{ {found.name} }}"
                            yield owner, way, text.replace("$", below)

    def _share(self, entity: Type, found: Field) -> None:
        """Only what is @shareable may be provided, so let somebody share it."""
        repeating = {s for s, names in entity.externals.items() if found.name in names}
        others = [s for s in self._knowing(entity) if s not in (*found.owners, *repeating)]
        if others:
            found.owners.append(self.random.choice(others))

    def _draw_requiring(self, entity: Type) -> None:
        for service in self._knowing(entity):
            for n in range(self.random.choice((0, 0, 1, 2))):
                if service != "io":
                    self._require(service, entity, f"r{service[1:]}{n}")

    def _require(self, service: str, entity: Type, name: str) -> None:
        needed = [
            (found, text)
            for found in entity.fields.values()
            if (text := self._required(service, entity, found))
        ]
        if not needed:
            return
        chosen = self.random.sample(needed, self.random.randint(1, min(2, len(needed))))
        new = entity.add(self._leaf(name))
        new.owners, new.requires = [service], " ".join(text for _, text in chosen)
        for found, _ in chosen:
            found.fails = False
            entity.externals.setdefault(service, set()).add(found.name)
            self._know(service, found.named)
            self._repeat_below(service, found)

    def _required(self, service: str, entity: Type, found: Field) -> str | None:
        """A field set that reads a field another service resolves; None if there is none."""
        is_elsewhere = found.owners and service not in found.owners and not found.interface
        if not is_elsewhere or found.name in entity.key_fields(service) or found.taken:
            return None
        arguments = ""
        if found.arguments:
            if not set(found.arguments) <= {"by", "at"}:
                return None
            arguments = f"(by: {self.random.randint(1, 2)})" if "by" in found.arguments else ""
        if found.is_leaf:
            return f"{found.name}{arguments}" if found.name[0] in "fr" else None
        if found.named in ("V0", "V1"):
            return f"{found.name}{arguments} {{ name size }}"
        below = self._world.types.get(found.named)
        leaf = next(self._plain(below), None) if below and below.all_keys else None
        if below is None or leaf is None or leaf.arguments:
            return None
        return f"{found.name}{arguments} {{ {leaf.name} }}"

    def _repeat_below(self, service: str, found: Field) -> None:
        """Let a service know the field of an entity that it requires together with the entity."""
        below = self._world.types.get(found.named)
        if below and below.all_keys:
            leaf = next(self._plain(below))
            leaf.fails = False
            if service not in leaf.owners:
                below.externals.setdefault(service, set()).add(leaf.name)

    def _hide(self, entity: Type) -> None:
        for found in list(self._plain(entity))[1:]:
            found.is_hidden = self._chance(0.1)

    # At the end

    def _spread_values(self) -> None:
        """Values, and what their interfaces ask, are known whole wherever they are known."""
        while self._finish_interfaces():
            pass
        for name in ("Tag", "V0", "V1", "H0"):
            for found in self._world.types[name].fields.values():
                found.owners = [s for s in self._world.services if name in self._world.known[s]]

    def _extend(self) -> None:
        for service, known in self._world.known.items():
            for name in sorted(known & set(ROOTS)):
                if self._chance(0.3):
                    self._world.extended.add((service, name))
