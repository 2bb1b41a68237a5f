void call(List<String> names) {
    echo names.toSorted { left, right -> left <=> right }.join(',')
}
