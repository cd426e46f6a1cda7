"""What is out of date and why: a pure function of the graph, the state and the observations."""
