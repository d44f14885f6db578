"""What an operation may cost at most, from its text and variables alone.

Static cost analysis as in IBM's GraphQL Cost Directive specification (ibm.github.io/graphql-specs)
and Apollo's demand control: an object costs 1 and a scalar nothing, unless `@cost` says otherwise;
a list costs its items times its size, which `@listSize`, a slicing argument or an assumption
tells. A root field of a mutation costs 10 more: it writes. The values of arguments cost what
`@cost` on them and on input fields says.

Where no `@listSize` stands, `first`, `last` and `limit` are slicing arguments, and those of a
connection size its `edges` and `nodes`. Of fragments on several object types only the dearest
counts, since an object has one type. A field selected twice counts twice: the price is an upper
bound.

An operation is priced once into a tree in which all that no variable moves is added up already,
so a warm operation's price is looked up, or costs a microsecond for each size in a variable.
"""

from gateway.access.limits.cost.cost_model import CostModel
from gateway.access.limits.cost.list_sizes import SlicingArgumentRequired
from gateway.access.limits.cost.operation_cost import OperationCost, check_cost
from gateway.access.limits.cost.schema_costs import CostWeights

__all__ = ["CostModel", "CostWeights", "OperationCost", "SlicingArgumentRequired", "check_cost"]
