"""Bytes of a file as arrays, safely: nothing in a file is run or unpickled, sizes are checked before memory is taken.

What is read by which module:

    .npy .npz          npy                 .csv .tsv .json     text
    .pt .pth .pkl      pickle_file         .yaml               yaml, a spec
    .safetensors       safetensors_file    .keras .h5 .hdf5    hdf5, zip_members
    .mlmodel           coreml_file         .onnx               onnx_file
    .mlpackage         coreml_file         .tflite             tflite_file

A pickle is never loaded: `pickle_inert` writes down what loading would call, `rebuilding` knows which of these calls
make tensors and arrays, `pickled` gives them names, `strided` reads their numbers.

`sources` parses what a user writes for x (a generator, a file, numbers); `arrays` reads it from a file of any format.
`reading`, `free_memory` and `writing` are below them all. Nothing here knows what a network is.
"""
