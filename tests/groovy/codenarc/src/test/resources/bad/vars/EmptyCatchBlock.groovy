void call() {
    try {
        sh 'make'
    } catch (Exception e) {
    }
}
