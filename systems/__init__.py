"""The systems that the engine drives: disordered physical systems and deep networks."""
