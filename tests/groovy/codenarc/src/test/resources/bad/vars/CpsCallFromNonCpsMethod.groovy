import com.cloudbees.groovy.cps.NonCPS

void call(String name) {
    echo told(name)
}

@NonCPS
String told(String name) {
    return greeted(name)
}

String greeted(String name) {
    sleep 1
    return 'hello ' + name
}
