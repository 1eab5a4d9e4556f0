"""How long the layers of a loaded artefact take, runtime by runtime."""
