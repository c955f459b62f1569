"""vLLM's cache folder: read it into publications, and write it again from a store.

    <VLLM_CACHE_ROOT>/torch_compile_cache/<hash>/rank_0_0/backbone/vllm_compile_cache.py
                                          torch_aot_compile/<sha256>/rank_0_0/model

Nothing in such a folder is unpickled, imported or executed here: files are bytes, and the parts list is
read as a literal. This package knows the folder only; it imports neither vLLM nor torch.
"""
