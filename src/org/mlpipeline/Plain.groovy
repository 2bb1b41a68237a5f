package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Makes plain data of what a Jenkinsfile passes in: strings, numbers, booleans, lists and maps, without nulls. */
class Plain implements Serializable {

    private static final long serialVersionUID = 1L

    /** A copy of the map that JSON can hold as it is; a GString becomes its text, so that its parts are never read as a bean. */
    @NonCPS
    static Map map(Map given) {
        Map plain = [:]
        for (Object key : given.keySet()) {
            Object value = given.get(key)
            if (value != null) {
                plain.put(key.toString(), of(value))
            }
        }
        return plain
    }

    @NonCPS
    private static Object of(Object value) {
        if (value instanceof Map) {
            return map((Map) value)
        }
        if (value instanceof Collection) {
            List plain = []
            for (Object one : (Collection) value) {
                if (one != null) {
                    plain.add(of(one))
                }
            }
            return plain
        }
        return value instanceof Number || value instanceof Boolean ? value : value.toString()
    }
}
