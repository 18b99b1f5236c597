"""How search behaves in libraries of up to millions of clips, made from few real videos."""
