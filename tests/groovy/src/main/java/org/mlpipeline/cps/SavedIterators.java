package org.mlpipeline.cps;

import java.io.Serializable;
import java.util.AbstractMap;
import java.util.AbstractSet;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Iterators that can be saved, for the collections where a controller has them too: lists, and keys, values and entries of maps. */
public final class SavedIterators {
    private SavedIterators() {
    }

    public static <E> Iterator<E> iterator(List<E> list) {
        return new Position<>(list);
    }

    public static <K, V> Set<K> keySet(Map<K, V> map) {
        return new Copy<>(new ArrayList<>(map.keySet()));
    }

    public static <K, V> Collection<V> values(Map<K, V> map) {
        return new ArrayList<>(map.values());
    }

    public static <K, V> Set<Map.Entry<K, V>> entrySet(Map<K, V> map) {
        List<Map.Entry<K, V>> entries = new ArrayList<>();
        map.forEach((key, value) -> entries.add(new AbstractMap.SimpleEntry<>(key, value)));
        return new Copy<>(entries);
    }

    private static final class Copy<E> extends AbstractSet<E> implements Serializable {
        private static final long serialVersionUID = 1L;
        private final List<E> elements;

        Copy(List<E> elements) {
            this.elements = elements;
        }

        @Override
        public Iterator<E> iterator() {
            return new Position<>(elements);
        }

        @Override
        public int size() {
            return elements.size();
        }
    }

    private static final class Position<E> implements Iterator<E>, Serializable {
        private static final long serialVersionUID = 1L;
        private final List<E> list;
        private int next;

        Position(List<E> list) {
            this.list = list;
        }

        @Override
        public boolean hasNext() {
            return next < list.size();
        }

        @Override
        public E next() {
            return list.get(next++);
        }
    }
}
