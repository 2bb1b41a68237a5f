package org.bad

class ObjectOverrideOnlyNonCpsMethods implements Serializable {
    String name

    String toString() {
        return name
    }
}
