"""These tests run tiny networks: a second thread only waits for the first on a busy machine."""

import torch

torch.set_num_threads(1)
