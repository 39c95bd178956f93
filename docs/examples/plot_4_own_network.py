"""
A network of one's own
======================

You train any ``torch.nn.Module`` by SGD, several copies side by side, and measure what is measured of a
glass. This is the whole of ``two_layers.py``:

.. literalinclude:: /examples/two_layers.py
   :language: python

Time is counted in steps of SGD, the training loss is the energy, the weights are the degrees of freedom.
The data here are made, so that nothing is downloaded.
"""

import langevin

trained = langevin.run(
    {
        "title": "Two layers of tanh",
        "system": {
            "name": "network",
            "module": "two_layers:two_layers",
            "arguments": {"width": 16},
            "loss": "cross_entropy",
        },
        "data": {"name": "synthetic", "train": 200, "test": 100},
        "dynamics": {"learning_rate": 0.1, "batch_size": 20, "t_max": 1000},
        "ensemble": {"replicas": 4, "seed": 1},
        "record": {"waiting_times": {"start": 10, "per_decade": 1}, "lags": {"start": 1, "per_decade": 8}},
    }
)
figure = langevin.plot(trained)

# %%
# Beside the loss there are accuracies, the loss of test data, and the noise of the gradient at each
# waiting time.

print(trained[["energy", "test_loss", "test_accuracy"]].isel(time=-1).mean("replica").to_array().to_series())
