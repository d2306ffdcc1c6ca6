"""A third party's module that fails as it is imported."""

raise RuntimeError("it fell over")
