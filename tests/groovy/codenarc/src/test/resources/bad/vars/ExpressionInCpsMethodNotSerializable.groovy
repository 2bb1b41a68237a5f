import java.util.regex.Matcher

void call(String text) {
    Matcher matcher = text =~ /a+/
    sleep 1
    echo matcher.matches().toString()
}
