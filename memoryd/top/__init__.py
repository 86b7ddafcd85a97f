"""`memoryd top`: what a memoryd does at this moment, as Redis alone knows it. A `frame` is looked at (`look`), with requests
that are overheard meanwhile (`overheard`) and time series if they are kept (`operations`), and drawn (`draw`)."""
