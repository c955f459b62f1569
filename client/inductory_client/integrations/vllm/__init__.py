"""vLLM's plugin: what an engine would compile on its start comes from the store, at four levels.

    model      the AOT file with its pieces: neither Dynamo nor Inductor runs
    submodule  a piece by its key, where the model as a whole isn't there
    modelinfo  what vLLM knows of a model class once it has inspected it in a process of its own
    triton     the kernels that the model runner compiles just in time

Each level fails open: where anything is amiss, vLLM goes on as if Inductory weren't there.
"""
