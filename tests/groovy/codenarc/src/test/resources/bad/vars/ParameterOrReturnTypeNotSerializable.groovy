import java.util.regex.Matcher

void call(Matcher matcher) {
    sleep 1
    echo matcher.pattern().toString()
}
