"""The cells of the package torchrecurrent (github.com/MartinuzziFrancesco/torchrecurrent), written as cells of one's
own: a file a paper, with the equations, their lines, and a loop in torch that shares no line with them. `table.py` has
all."""
