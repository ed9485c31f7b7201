"""The embedding with the parameters of SGLang's."""

from torch import nn


class VocabParallelEmbedding(nn.Module):
    def __init__(self, num_embeddings, embedding_dim, *, quant_config=None, prefix=""):
        super().__init__()
