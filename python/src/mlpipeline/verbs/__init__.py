"""One module per verb: gather the inputs, call ``core``, write the result."""
