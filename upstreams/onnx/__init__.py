"""ONNX graphs: inputs, weights and costs; and the form in which encoders are exported."""
