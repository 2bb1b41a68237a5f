import java.util.regex.Pattern

void call() {
    echo 'hello'
}
