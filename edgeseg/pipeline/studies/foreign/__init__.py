"""Networks that others published, rebuilt small with the same structure, to try builds on.

None of them is offered to users: each holds a structure that a deployment can get wrong.
"""
