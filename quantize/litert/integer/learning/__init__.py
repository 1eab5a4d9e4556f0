"""An integer-only model in torch: what its rounding costs, and weights that are learned."""
