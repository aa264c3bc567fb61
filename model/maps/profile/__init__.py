"""What only the compiler can know of a network in integers: values, errors, accuracies."""
