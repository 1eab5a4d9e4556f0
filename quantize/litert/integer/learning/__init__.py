"""An integer-only model in torch: what its rounding costs, and grids that are learned."""
