"""Files written from the nodes, and held to them by tests: English texts, example workflows, the table of swaps."""
