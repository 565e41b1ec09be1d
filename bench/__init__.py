"""The harness: contracts, protocol, conditions, costs, records and the command line."""

DISTRIBUTION = "slim-superb"
