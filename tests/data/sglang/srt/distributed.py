"""Parallel sizes."""


def get_tensor_model_parallel_world_size():
    raise RuntimeError("no process group")
