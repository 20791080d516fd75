"""Two runners behind one interface: `inline` (this process) and `ray` (Ray core tasks). Both give the same bytes."""
